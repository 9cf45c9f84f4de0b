"""The processes of the soak: one daemon after the other, hosts of ranks, and an observer that asks the daemon."""

import json
import os
import resource
import signal
import socket
import subprocess
import time

SERVING_TIMEOUT_S = 20
EXIT_WITHOUT_LEAVING = 3  # of soak_rank
# How long after a daemon serves again its clients may still say UNAVAILABLE: their pauses between attempts.
RESUME_S = 5


class Lines:
    """What a process says, line by line, without blocking."""

    def __init__(self, pipe):
        self.fd = pipe.fileno()
        os.set_blocking(self.fd, False)
        self._rest = b""

    def read(self):
        """The complete lines that are there; None at the end."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return []
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


class Daemon:
    """a8a-daemon, and when it was away."""

    def __init__(self, program, directory):
        self.program, self.directory = program, directory
        self.runtime_dir = f"{directory}/run"
        self.outages = []  # [begin, end]; end is None while it lasts
        self.process = None
        self._log = open(f"{directory}/daemon.log", "wb")  # pylint: disable=consider-using-with
        self._reloads = 0
        self.write_config()

    def write_config(self):
        """Something changes each time, so that a reload has something to do."""
        self._reloads += 1
        with open(f"{self.directory}/a8a.toml", "w", encoding="utf-8") as file:
            file.write(f'drain_timeout = "{5 + self._reloads % 2}s"\n')

    def start(self):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [self.program, "--backend", "host", "--runtime-dir", self.runtime_dir, "--config",
             f"{self.directory}/a8a.toml"], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + SERVING_TIMEOUT_S
        while not self._serves():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the daemon does not serve; its log is {self._log.name}")
            time.sleep(0.01)
        if self.outages and self.outages[-1][1] is None:
            self.outages[-1][1] = time.monotonic()

    def _serves(self):
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(f"{self.runtime_dir}/a8a.sock") == 0

    def end(self, number):
        """By a signal. Returns the exit status."""
        self.outages.append([time.monotonic(), None])
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def reload(self):
        self.write_config()
        self.process.send_signal(signal.SIGHUP)

    def was_away(self, begin, end):
        return any(start <= end and (stop is None or stop + RESUME_S >= begin) for start, stop in self.outages)

    def descriptors(self):
        """What is open, as the kernel names it; numbers of sockets and the like taken off."""
        return [name.split(":[")[0] for name in open_files(self.process.pid)]


class Host:
    """One soak_rank process: a session, and ranks of several groups."""

    def __init__(self, program, daemon, number, seed, errors):
        self.number = number
        self.process = subprocess.Popen([program, daemon.runtime_dir, str(seed)],  # pylint: disable=consider-using-with
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.lines = Lines(self.process.stdout)
        self.attached = False
        self.stopped = False
        self.ending = None  # the exit status that is expected
        self.heard = time.monotonic()
        self.counters = {}
        self.deaths = []  # what the judge was told of, to be completed when it is gone

    def tell(self, **order):
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it dies just now

    def signal(self, number):
        self.process.send_signal(number)

    def memory_files(self):
        """Names of the daemon's memory files that it has open, and that it has mapped. A lost one shows in either."""
        folder = f"/proc/{self.process.pid}"
        with open(f"{folder}/maps", encoding="utf-8", errors="replace") as maps:
            mapped = [line.split(maxsplit=5)[5].strip() for line in maps if "/memfd:a8a" in line]
        return [name for name in open_files(self.process.pid) if name.startswith("/memfd:a8a")], mapped


class Observer:
    """Asks the daemon for statistics and health, as a monitoring tool does."""

    def __init__(self, program, daemon):
        self.process = subprocess.Popen([program, daemon.runtime_dir],  # pylint: disable=consider-using-with
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines = Lines(self.process.stdout)
        self.asked = []

    def ask(self, question):
        self.asked.append((time.monotonic(), question))
        self.process.stdin.write(question.encode() + b"\n")
        self.process.stdin.flush()

    def answers(self):
        """(when it was asked, question, answer)s that have come."""
        return [(*self.asked.pop(0), json.loads(line)) for line in self.lines.read() or []]

    def wait(self, question):
        """Asks and waits; answers of before are dropped."""
        self.ask(question)
        while True:
            answers = self.answers()
            if answers and not self.asked:
                return answers[-1][2]
            time.sleep(0.005)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


def open_files(pid):
    names = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            pass  # closed meanwhile
    return names


def no_cores():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
