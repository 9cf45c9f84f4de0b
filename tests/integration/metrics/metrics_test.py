#!/usr/bin/env python3
"""metrics_test.py DAEMON DP_MLA A8ACTL [TEST]...: what a daemon serves to Prometheus is what it and its ranks did."""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
import unittest

from daemon_under_load import Daemon, Load, eventually, free_port

programs = types.SimpleNamespace()
STRANGER_UID = 64003
BY_RANK = {
    "all_to_alls": "a8a_rank_all_to_alls_total", "prepares": "a8a_rank_prepares_total",
    "rows_sent": "a8a_rank_sent_rows_total", "bytes_sent": "a8a_rank_sent_bytes_total",
    "rows_received": "a8a_rank_received_rows_total", "bytes_received": "a8a_rank_received_bytes_total",
}
# Connections that may be open at once (HttpServer::kConnectionMax), and for how long (kRequestTimeout).
CONNECTION_MAX = 16
REQUEST_TIMEOUT_S = 5


class MetricsTest(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="a8a-metrics-"))
        self.directory.chmod(0o711)
        self.addCleanup(shutil.rmtree, self.directory)

    def daemon(self, *flags):
        return Daemon(programs, self.directory, *flags)

    def counters_of_ranks(self, stats):
        """{(metric, rank): value} of the one group, as GetStats says it."""
        values = {}
        for rank in stats["groups"][0]["ranks"]:
            label = str(rank["rank"])
            for field, metric in BY_RANK.items():
                values[metric, label] = rank["total"][field]
            for wait in ("credit_wait", "done_wait"):
                values[f"a8a_rank_{wait}_seconds_count", label] = sum(rank["total"][wait]["counts"])
                values[f"a8a_rank_{wait}_seconds_sum", label] = rank["total"][wait]["sum_ns"] / 1e9
        return values

    def test_both_transports_serve_what_promtool_takes(self):
        port = free_port()
        with self.daemon(f"--metrics-port={port}") as daemon, Load(daemon):
            eventually(lambda: daemon.scrape().sum("a8a_rank_all_to_alls_total") > 0, "the ranks run")
            over_socket, over_port = daemon.scrape(), daemon.scrape(port)
            _, headers, _ = daemon.get()

        self.assertEqual(over_socket.names(), over_port.names())
        self.assertIn("version=0.0.4", headers["Content-Type"])
        if shutil.which("promtool"):
            said = subprocess.run(["promtool", "check", "metrics"], input=over_socket.text, capture_output=True, text=True)
            self.assertEqual((said.returncode, said.stderr), (0, ""))

    def test_values_are_those_of_get_stats_and_of_the_load(self):
        with self.daemon() as daemon:
            before = daemon.scrape()
            with Load(daemon, world_size=2, steps=20000, layers=2) as load:
                eventually(lambda: daemon.scrape().sum("a8a_rank_all_to_alls_total") > 20, "the ranks run")
                low, page, high = daemon.stats(), daemon.scrape(), daemon.stats()
                self.assertEqual(page.value("a8a_groups", state="ready"), 1)
                self.assertEqual(page.value("a8a_sessions", stream="open"), 2)
                self.assertEqual(page.value("a8a_group_info"), 1)
                self.assertEqual(page.value("a8a_leases", device="host"), 6, "flags and two windows of each rank")
                high = self.counters_of_ranks(high)
                for (metric, rank), least in self.counters_of_ranks(low).items():
                    value = page.value(metric, rank=rank)
                    self.assertLessEqual(least, value * (1 + 1e-9), (metric, rank))
                    self.assertGreaterEqual(high[metric, rank] * (1 + 1e-9), value, (metric, rank))
                self.assertEqual(page.value("a8a_pool_leased_bytes", device="host"), page.sum("a8a_rank_leased_bytes"))
                did = load.result()
            after = eventually(lambda: (page := daemon.scrape()).sum("a8a_sessions") == 0 and
                               page.value("a8a_loop_lag_seconds_count", loop="timers") > 0 and page,
                               "the load has ended, and a timer has come")

        # Its series are gone, what it did stays.
        self.assertEqual([name for name in after.names() if name.startswith(("a8a_rank_", "a8a_group_"))], [])
        self.assertEqual(after.value("a8a_all_to_alls_total"), 2 * did["all_to_alls"])
        self.assertEqual(after.value("a8a_prepares_total"), 2 * did["prepare"]["count"])
        for direction in ("sent", "received"):
            self.assertEqual(after.value(f"a8a_{direction}_rows_total"), did["rows"])
            self.assertEqual(after.value(f"a8a_{direction}_bytes_total"), did["bytes"])
        self.assertEqual(after.value("a8a_rpcs_total", method="/a8a.v1.GroupService/JoinGroup", code="OK"), 2)
        self.assertEqual(after.value("a8a_rpc_duration_seconds_count", method="/a8a.v1.GroupService/JoinGroup"), 2)
        self.assertEqual(after.value("a8a_groups_ended_total", reason="rank_left"), 1)
        self.assertEqual(after.value("a8a_sessions_died_total"), 0)
        self.assertEqual(after.value("a8a_pool_leased_bytes", device="host"), 0)
        self.assertEqual(after.value("a8a_pool_free_bytes", device="host"),
                         after.value("a8a_pool_limit_bytes", device="host"))
        self.assertGreater(after.value("a8a_state_saves_total"), before.value("a8a_state_saves_total"))
        self.assertEqual(after.value("a8a_state_save_failures_total"), 0)
        self.assertGreater(after.value("a8a_executor_wait_seconds_count", executor="calls"), 0)

    def test_totals_never_go_back_and_a_death_has_its_reason(self):
        totals = ("a8a_all_to_alls_total", "a8a_sent_bytes_total", "a8a_sessions_attached_total")
        with self.daemon() as daemon, Load(daemon) as load:
            eventually(lambda: daemon.scrape().value("a8a_all_to_alls_total") > 20, "the ranks run")
            seen = [daemon.scrape()]
            os.kill(load.ranks()[0], signal.SIGKILL)
            eventually(lambda: seen.append(daemon.scrape()) or not seen[-1].sum("a8a_sessions"), "the ranks have ended")

        for earlier, later in zip(seen, seen[1:]):
            for name in totals:
                self.assertLessEqual(earlier.value(name), later.value(name), name)
        self.assertEqual(seen[-1].value("a8a_groups_ended_total", reason="rank_died"), 1)
        self.assertGreaterEqual(seen[-1].value("a8a_sessions_died_total"), 1)

    def test_a_restart_counts_what_comes_after_it(self):
        with self.daemon() as daemon, Load(daemon) as load:
            before = eventually(lambda: (page := daemon.scrape()).value("a8a_all_to_alls_total") > 500 and page, "load")
            daemon.process.kill()
            daemon.process.wait()
            daemon.start()
            after = eventually(lambda: (page := daemon.scrape()).matching("a8a_rank_all_to_alls_total") and
                               page.value("a8a_all_to_alls_total") > 0 and page, "the ranks are back")
            # By rank the counters are the ranks' own, which no restart changes; the total is the daemon's.
            self.assertGreaterEqual(after.sum("a8a_rank_all_to_alls_total"), before.sum("a8a_rank_all_to_alls_total"))
            self.assertLess(after.value("a8a_all_to_alls_total"), after.sum("a8a_rank_all_to_alls_total"))
            self.assertIsNone(load.process.poll())

    def test_refusals_are_counted_by_limit(self):
        with self.daemon("--session-max=1") as daemon:
            with Load(daemon) as load:
                load.process.wait()
            page = daemon.scrape()
        self.assertGreaterEqual(page.value("a8a_refusals_total", limit="session_max"), 1)
        self.assertEqual(page.value("a8a_refusals_total", limit="session_max_per_uid"), 0)

    def test_ranks_beyond_the_limit_are_counted_and_not_shown(self):
        with self.daemon("--metrics-rank-max=1") as daemon, Load(daemon):
            page = eventually(lambda: (page := daemon.scrape()).value("a8a_ranks_not_shown") == 2 and
                              page.value("a8a_all_to_alls_total") > 0 and page, "the ranks run")
        self.assertEqual(page.matching("a8a_rank_all_to_alls_total"), [])

    def test_other_requests_get_an_answer(self):
        with self.daemon() as daemon:
            status, headers, body = daemon.get(method="HEAD")
            self.assertEqual((status, body), (200, ""))
            self.assertGreater(int(headers["Content-Length"]), 1000)
            self.assertEqual(daemon.get("/")[0], 404)
            self.assertIn("/metrics", daemon.get("/favicon.ico")[2])
            self.assertEqual(daemon.get("/metrics?x=1")[0], 200)
            status, headers, _ = daemon.get(method="DELETE")
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))
            self.assertEqual(daemon.get(method="POST", headers={"Content-Length": "1000000000"})[0], 405)

    def connect(self, daemon):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(str(daemon.metrics_socket))
        self.addCleanup(connection.close)
        return connection

    @staticmethod
    def said_until_closed(connection):
        said = b""
        try:
            while chunk := connection.recv(65536):
                said += chunk
        except ConnectionError:
            pass
        return said

    def test_slow_oversized_and_malformed_clients_do_no_harm(self):
        with self.daemon() as daemon:
            idle_fds = daemon.scrape().value("process_open_fds")
            silent = self.connect(daemon)
            slow = self.connect(daemon)
            began = time.monotonic()

            # More than may be open: the oldest have to go, and a scrape among them works.
            crowd = [self.connect(daemon) for _ in range(3 * CONNECTION_MAX)]
            daemon.scrape()
            self.assertEqual(self.said_until_closed(silent), b"")
            self.assertEqual(self.said_until_closed(slow), b"")
            self.assertLess(time.monotonic() - began, REQUEST_TIMEOUT_S)
            for connection in crowd:
                connection.close()

            slow = self.connect(daemon)
            began = time.monotonic()
            for request in (b"\0" * 4096, b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00",
                            b"GET /metrics HTTP/1.1\r\nHost: " + b"x" * 200000 + b"\r\n\r\n",
                            b"GET /" + b"y" * 200000 + b" HTTP/1.1\r\n\r\n",
                            b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 50000):
                connection = self.connect(daemon)
                try:
                    connection.sendall(request)
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                self.assertNotIn(b"HTTP/1.1 200", self.said_until_closed(connection), request[:60])
                daemon.scrape()
            # A byte now and then does not keep a connection: the whole request has its time.
            try:
                for byte in b"GET /metrics HTTP/1.1\r\n" + b"X" * 100:
                    slow.sendall(bytes([byte]))
                    time.sleep(0.1)
                self.fail("a request that trickles in was waited for")
            except OSError:
                pass
            self.assertGreater(time.monotonic() - began, REQUEST_TIMEOUT_S - 1)
            eventually(lambda: daemon.scrape().value("process_open_fds") <= idle_fds, "no descriptor is left behind")
            self.assertLess(daemon.scrape().value("process_resident_memory_bytes"), 256 << 20)

    def test_a_reader_that_stops_is_left_behind(self):
        with self.daemon() as daemon:
            lazy = self.connect(daemon)
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            lazy.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            for _ in range(20):
                daemon.scrape()

    @unittest.skipUnless(os.geteuid() == 0, "takes root, to be somebody else")
    def test_strangers_may_read_only_where_the_mode_says_so(self):
        for flags, expected in ((), PermissionError), (("--metrics-socket-mode=0666",), None), (
                ("--metrics-socket-mode=0660", f"--metrics-socket-group={STRANGER_UID}"), None):
            with self.daemon(*flags) as daemon:
                with socket.socket(socket.AF_UNIX) as connection:
                    raised = self.as_stranger(lambda: connection.connect(str(daemon.metrics_socket)))
            self.assertEqual(raised, expected and expected.__name__, flags)

    @staticmethod
    def as_stranger(function):
        """What `function` raises in a process of another uid; None if nothing."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(STRANGER_UID)
                os.setuid(STRANGER_UID)
                function()
            except Exception as error:
                os.write(writer, type(error).__name__.encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as said:
            return said.read() or None

    def test_the_socket_may_lie_elsewhere_and_all_may_be_off(self):
        path = self.directory / "m.sock"
        with self.daemon(f"--metrics-socket={path}") as daemon:
            self.assertFalse(daemon.metrics_socket.exists())
            self.assertTrue(path.is_socket())
        self.assertFalse(path.exists(), "the daemon removes what it made")
        with self.daemon("--metrics-socket=off") as daemon:
            self.assertFalse(daemon.metrics_socket.exists())
            threads = [pathlib.Path(f"/proc/{daemon.process.pid}/task/{task}/comm").read_text().strip()
                       for task in os.listdir(f"/proc/{daemon.process.pid}/task")]
        self.assertNotIn("a8a-metrics", threads)

    def test_what_cannot_be_served_on_is_named(self):
        def refusal(*flags):
            said = subprocess.run([programs.daemon, "--backend=host", f"--runtime-dir={self.directory}/r", *flags],
                                  capture_output=True, text=True, timeout=60)
            self.assertNotEqual(said.returncode, 0)
            return said.stderr

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.assertIn(f"cannot bind 127.0.0.1:{port} (metrics.port)", refusal(f"--metrics-port={port}"))
        file = self.directory / "file"
        file.write_text("precious")
        self.assertIn(f"{file} is in the way and no socket", refusal(f"--metrics-socket={file}"))
        self.assertEqual(file.read_text(), "precious")
        self.assertIn("no group of this machine", refusal("--metrics-socket-group=nonsense"))
        config = self.directory / "a8a.toml"
        config.write_text("backend = \"host\"\n[metrics]\nport = \"9187\"\n")
        self.assertIn(f"{config}:3: metrics.port: is of type string; allowed: an integer", refusal(f"--config={config}"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("daemon", "dp_mla", "a8actl"):
        parser.add_argument(name)
    arguments, rest = parser.parse_known_args()
    vars(programs).update(vars(arguments))
    unittest.main(argv=[sys.argv[0], *rest])
