"""A daemon, a load on it, and what a scrape of it says: shared by the tests of the metrics and of what is built on them."""

import contextlib
import http.client
import json
import pathlib
import re
import signal
import socket
import subprocess
import time

PATIENCE_S = 60
SERIES = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def eventually(condition, what):
    """Waits until `condition()` is true, and returns that."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Page:
    """A scrape: the value of each series, by name and labels."""

    def __init__(self, text):
        self.text = text
        self.series = {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            name, labels, value = SERIES.match(line).groups()
            key = (name, frozenset(LABEL.findall(labels or "")))
            assert key not in self.series, f"twice: {line}"
            self.series[key] = float(value)

    def names(self):
        return {name for name, _ in self.series}

    def matching(self, name, **labels):
        """The series that have these labels, as ({label: value}, value)."""
        wanted = set(labels.items())
        return [(dict(has), value) for (key, has), value in self.series.items() if key == name and wanted <= has]

    def value(self, name, **labels):
        found = self.matching(name, **labels)
        assert len(found) == 1, f"{len(found)} series {name} {labels}"
        return found[0][1]

    def sum(self, name, **labels):
        return sum(value for _, value in self.matching(name, **labels))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("a8a", timeout=PATIENCE_S)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """A daemon that serves in a directory of its own; ended with the block."""

    def __init__(self, programs, directory, *flags):
        self.programs = programs
        self.directory = pathlib.Path(directory)
        self.runtime_dir = self.directory / "run"
        self.flags = flags
        self.process = None
        self.log_file = None

    def close_log(self):
        if self.log_file:
            self.log_file.close()

    def start(self):
        self.close_log()
        self.log_file = open(self.directory / "log", "a+")
        started = self.log().count(" serving ")
        self.process = subprocess.Popen(
            [self.programs.daemon, "--backend=host", f"--runtime-dir={self.runtime_dir}", "--drain-timeout=50ms",
             *self.flags], stderr=self.log_file, stdin=subprocess.DEVNULL)
        eventually(lambda: self.log().count(" serving ") > started or self.process.poll() is not None, "the daemon serves")
        assert self.process.poll() is None, self.log()
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        self.process.kill()
        self.process.wait()
        self.close_log()

    def log(self):
        return (self.directory / "log").read_text()

    @property
    def metrics_socket(self):
        return self.runtime_dir / "metrics.sock"

    def get(self, path="/metrics", method="GET", port=None, **arguments):
        """(status, headers, body)"""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S) if port else UnixConnection(
            self.metrics_socket)
        with contextlib.closing(connection):
            connection.request(method, path, **arguments)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()

    def scrape(self, port=None):
        status, _, body = self.get(port=port)
        assert status == 200, (status, body)
        return Page(body)

    def ctl(self, *arguments, check=True):
        said = subprocess.run([self.programs.a8actl, arguments[0], f"--runtime-dir={self.runtime_dir}", *arguments[1:]],
                              check=check, capture_output=True, text=True)
        return said.stdout

    def stats(self):
        return json.loads(self.ctl("stats", "--json"))


class Load:
    """The main job, small; its ranks are `pids`."""

    def __init__(self, daemon, world_size=2, steps=1000000, layers=2):
        self.trace = daemon.directory / "trace.csv"
        if not self.trace.exists():
            names = ",".join(f"rank{rank}" for rank in range(8))
            rows = "".join(f"{step},{','.join(str(1 + (step + rank) % 7) for rank in range(8))}\n"
                           for step in range(20000))
            self.trace.write_text(f"step,{names}\n{rows}")
        self.process = subprocess.Popen(
            [daemon.programs.dp_mla, f"--runtime-dir={daemon.runtime_dir}", f"--trace={self.trace}",
             f"--world-size={world_size}", f"--layers={layers}", f"--steps={min(steps, 20000)}", "--backend=host",
             "--row-bytes-tp2dp=64", "--row-bytes-dp2tp=64", "--free-running", "--json", "--quiet"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate()

    def ranks(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def result(self):
        """What it says that it did, at its end."""
        said, errors = self.process.communicate(timeout=2 * PATIENCE_S)
        assert self.process.returncode == 0, errors
        return json.loads(said)
