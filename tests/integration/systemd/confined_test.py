#!/usr/bin/env python3
"""confined_test.py SERVICE SOCKET DAEMON DP_MLA TRACE: the main job passes with a daemon that may do no more than its unit
lets it, and that is restarted meanwhile.

Reads the units and does what systemd would: makes the sockets and passes them, and starts the daemon under another uid,
without capabilities, in network and IPC namespaces of its own, under the filters of system calls and address families,
without memory that is writable and executable. The ranks have a third uid, which the daemon must tell from others, watch
and find again, with its pids. Not here: what takes mounts and cgroups. Exit status 77: it takes root, systemd-analyze,
libseccomp.
"""

import ctypes
import fcntl
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

DAEMON_UID = 64001
RANKS_UID = 64002
PATIENCE_S = 60

PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_MDWE = 38, 24, 65
CLONE_NEWIPC, CLONE_NEWNET = 0x08000000, 0x40000000
SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_CMP_NE, SCMP_CMP_EQ = 0x7FFF0000, 0x00050000, 1, 4
ERRNO_EPERM, ERRNO_EAFNOSUPPORT = 1, 97
KINDS = {"ListenStream": socket.SOCK_STREAM, "ListenSequentialPacket": socket.SOCK_SEQPACKET}

libc = ctypes.CDLL(None, use_errno=True)


class Compare(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("value", ctypes.c_uint64),
                ("mask", ctypes.c_uint64)]


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def settings(path):
    """(key, value) of each line of a unit."""
    lines = [line.strip() for line in pathlib.Path(path).read_text().splitlines()]
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and not line.startswith(("#", "["))]


def calls_of(name):
    """The system calls of a set, as the installed systemd has it."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    names = [line.strip() for line in listed.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(calls_of(each) for each in names))


def allowed_calls(unit):
    """What SystemCallFilter= comes to: the first line allows, a line with ~ takes away."""
    allowed = set()
    for value in (value for key, value in unit if key == "SystemCallFilter"):
        names = set().union(*(calls_of(name) for name in value.removeprefix("~").split()))
        allowed = allowed - names if value.startswith("~") else allowed | names
    # systemd always lets these through [systemd.exec(5), SystemCallFilter=].
    return allowed | calls_of("@default")


def check(result, what):
    if result < 0:
        raise OSError(-result if result < -1 else ctypes.get_errno(), what)


class Filter:
    """The filter of system calls, made before fork."""

    def __init__(self, unit):
        self.library = ctypes.CDLL("libseccomp.so.2")
        self.library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.library.seccomp_init(SCMP_ACT_ERRNO | ERRNO_EPERM))
        number = self.library.seccomp_syscall_resolve_name
        only_unix = ("RestrictAddressFamilies", "AF_UNIX") in unit
        for call in (number(name.encode()) for name in sorted(allowed_calls(unit))):
            if call < 0 or (only_unix and call == number(b"socket")):
                continue  # one of another machine, or one that has rules of its own
            self.add(SCMP_ACT_ALLOW, call)
        if only_unix:
            self.add(SCMP_ACT_ALLOW, number(b"socket"), Compare(0, SCMP_CMP_EQ, socket.AF_UNIX, 0))
            self.add(SCMP_ACT_ERRNO | ERRNO_EAFNOSUPPORT, number(b"socket"), Compare(0, SCMP_CMP_NE, socket.AF_UNIX, 0))

    def add(self, action, call, *compares):
        array = (Compare * max(len(compares), 1))(*compares)
        check(self.library.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), call, len(compares), array), "rule")

    def load(self):
        check(self.library.seccomp_load(self.context), "seccomp_load")


def become(uid):
    os.setgroups([])
    os.setresgid(DAEMON_UID, DAEMON_UID, DAEMON_UID)  # SocketGroup=
    os.setresuid(uid, uid, uid)


def confine(unit, calls):
    """Runs in the child."""
    unit = dict(unit)
    flags = CLONE_NEWNET * (unit.get("PrivateNetwork") == "yes") | CLONE_NEWIPC * (unit.get("PrivateIPC") == "yes")
    check(libc.unshare(flags), "unshare")
    limit = int(unit["LimitNOFILE"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 1024), min(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    if unit["CapabilityBoundingSet"] == "":
        capability = 0
        while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
            capability += 1
    become(DAEMON_UID)
    os.umask(int(unit["UMask"], 8))
    if unit.get("NoNewPrivileges") == "yes":
        check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    # systemd does it by its filter; kernels before 6.3 know no other way, and leave it out here.
    if unit.get("MemoryDenyWriteExecute") == "yes":
        libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)
    calls.load()


class Manager:
    """The service manager: its sockets outlive the daemons that it starts."""

    def __init__(self, directory, service, socket_unit, daemon):
        self.runtime_dir = directory / "run"
        self.log_path = directory / "log"
        self.unit = settings(service)
        self.calls = Filter(self.unit)
        self.runtime_dir.mkdir(mode=0o755)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(directory / "notify"))
        os.chmod(directory / "notify", 0o666)
        self.heard = []
        # All the time: a daemon waits for a manager that does not listen.
        threading.Thread(target=self.listen_to_daemon, daemon=True).start()
        self.daemon = daemon
        self.running = set()
        self.sockets = [self.listen(self.runtime_dir / pathlib.Path(value).name, KINDS[key], dict(settings(socket_unit)))
                        for key, value in settings(socket_unit) if key in KINDS]
        os.chown(self.runtime_dir, DAEMON_UID, DAEMON_UID)

    @staticmethod
    def listen(path, kind, unit):
        listener = socket.socket(socket.AF_UNIX, kind)
        listener.bind(str(path))
        os.chown(path, DAEMON_UID, DAEMON_UID)
        os.chmod(path, int(unit["SocketMode"], 8))
        listener.listen(int(unit["Backlog"]))
        return listener

    def start(self):
        pid = os.fork()
        if pid == 0:
            try:
                self.exec_daemon()
            except BaseException as error:  # of a child that must not go on as the parent
                print(f"cannot be confined: {error}", flush=True)
            os._exit(1)
        self.running.add(pid)
        return pid

    def end_of(self, pid):
        """The exit status of a daemon, when it has ended."""
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.running.discard(pid)
        return status

    def kill_all(self):
        for pid in list(self.running):
            os.kill(pid, signal.SIGKILL)
            self.end_of(pid)

    def exec_daemon(self):
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        count = len(self.sockets)
        # First out of each other's way.
        for number, fd in enumerate([fcntl.fcntl(each, fcntl.F_DUPFD, 3 + count) for each in self.sockets]):
            os.dup2(fd, 3 + number, inheritable=True)
        os.closerange(3 + count, 4096)
        environment = {"NOTIFY_SOCKET": str(self.runtime_dir.parent / "notify"), "WATCHDOG_USEC": "2000000",
                       "LISTEN_FDS": str(count), "LISTEN_PID": str(os.getpid()),
                       "LISTEN_FDNAMES": ":".join(["a8a.socket"] * count)}
        confine(self.unit, self.calls)
        os.execve(self.daemon, [self.daemon, "--backend=host", f"--runtime-dir={self.runtime_dir}"], environment)

    def listen_to_daemon(self):
        while True:
            self.heard += self.notify.recv(4096).decode().split("\n")

    def wait_for(self, line, count=1):
        """Until daemons have said so."""
        deadline = time.monotonic() + PATIENCE_S
        while self.heard.count(line) < count:
            if time.monotonic() > deadline:
                sys.exit(f"FAIL: the daemon does not say {line}:\n{self.log()}")
            time.sleep(0.02)

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait_for_log(self, text):
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.log():
            if time.monotonic() > deadline:
                sys.exit(f"FAIL: the daemon's log has no '{text}':\n{self.log()}")
            time.sleep(0.02)


def run(service, socket_unit, daemon, dp_mla, trace):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="a8a-confined-"))
    os.chmod(directory, 0o755)  # every uid comes through here, and perhaps not through where this was built
    try:
        for each in (daemon, dp_mla, trace):
            shutil.copy(each, directory)
        manager = Manager(directory, service, socket_unit, str(directory / pathlib.Path(daemon).name))
        command = [str(directory / pathlib.Path(dp_mla).name), "--trace", str(directory / pathlib.Path(trace).name),
                   "--runtime-dir", str(manager.runtime_dir), "--world-size", "2", "--layers", "1",
                   "--row-bytes-tp2dp", "512", "--row-bytes-dp2tp", "512"]
        try:
            check_job(manager, command)
        finally:
            manager.kill_all()
    finally:
        shutil.rmtree(directory)


def wait_for_steps(progress):
    """Until the job's all-to-alls run: what is under way before, a restart may end."""
    text = b""
    while not re.search(rb"step [1-9]", text):
        if not select.select([progress], [], [], PATIENCE_S)[0]:
            sys.exit(f"FAIL: the main job makes no step: {text}")
        text += os.read(progress, 4096)


def check_job(manager, command):
    progress, stderr = os.openpty()  # on a terminal it comes often
    # Before there is a daemon.
    job = subprocess.Popen(command + ["--steps", "0"], preexec_fn=lambda: become(RANKS_UID), stdout=subprocess.DEVNULL,
                           stderr=stderr)
    first = manager.start()
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    wait_for_steps(progress)
    os.kill(first, getattr(signal, dict(manager.unit)["RestartKillSignal"]))
    if manager.end_of(first) != 0:
        sys.exit(f"FAIL: the daemon did not hand over:\n{manager.log()}")
    second = manager.start()
    manager.wait_for("READY=1", count=2)
    manager.wait_for_log("state_restored sessions=2")
    manager.wait_for_log("session_handed_back")
    job.send_signal(signal.SIGKILL)
    job.wait()
    manager.wait_for_log("group_aborted")
    if subprocess.run(command + ["--steps", "4", "--quiet"], preexec_fn=lambda: become(RANKS_UID), stdout=subprocess.DEVNULL,
                      check=False).returncode != 0:
        sys.exit(f"FAIL: the main job does not pass:\n{manager.log()}")
    manager.wait_for("WATCHDOG=1", count=manager.heard.count("WATCHDOG=1") + 2)
    os.kill(second, signal.SIGTERM)
    if manager.end_of(second) != 0:
        sys.exit(f"FAIL: the daemon did not stop:\n{manager.log()}")
    for text in ("_refused", "self_probe_failed"):
        if text in manager.log():
            sys.exit(f"FAIL: {text} in the log:\n{manager.log()}")
    print("the main job passes with a confined daemon")


def main():
    if os.geteuid() != 0:
        skip("it takes root to run as other users")
    if shutil.which("systemd-analyze") is None:
        skip("no systemd-analyze here (Debian package systemd)")
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        skip("no libseccomp.so.2 here (Debian package libseccomp2)")
    run(*sys.argv[1:])


main()
