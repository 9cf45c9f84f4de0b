#!/usr/bin/env python3
"""other_grpc_test.py DAEMON LIBRARY ORDER: liba8a in a process that carries another gRPC and another protobuf.

Starts a real daemon. A stock gRPC client (Python's grpcio) lists its services by reflection, checks health, and reads
statistics with messages that it knows from reflection alone; in the same process, two threads run all-to-alls through
liba8a's C interface while the stock client goes on calling. ORDER says what is loaded first:

  grpc-first     grpcio, then liba8a
  a8a-first      liba8a, then grpcio
  a8a-global     liba8a with RTLD_GLOBAL, so that its symbols and its dependencies' are seen by grpcio, then grpcio
  grpc-global    grpcio with RTLD_GLOBAL, then liba8a
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE_S = 60
ROUNDS = 200
ROWS = 5
ROW_BYTES = 100


class ConnectOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("runtime_dir", ctypes.c_char_p), ("client_name", ctypes.c_char_p),
                ("timeout_ns", ctypes.c_int64)]


class JoinOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("rank", ctypes.c_int32),
                ("world_size", ctypes.c_int32), ("device", ctypes.c_char_p), ("channel_count", ctypes.c_int32),
                ("secret", ctypes.c_char_p), ("secret_size", ctypes.c_size_t), ("timeout_ns", ctypes.c_int64),
                ("all_to_all_timeout_ns", ctypes.c_int64)]


class View(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64)
                for name in ("outer_size", "inner_size", "outer_stride_bytes", "inner_stride_bytes", "row_bytes")]


class Splits(ctypes.Structure):
    _fields_ = [("input", ctypes.c_void_p), ("output", ctypes.c_void_p), ("input_offsets", ctypes.c_void_p),
                ("output_offsets", ctypes.c_void_p), ("index_bytes", ctypes.c_int32)]


class AllToAllParams(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("input", ctypes.c_void_p), ("input_view", View),
                ("window", ctypes.c_void_p), ("output_offset_bytes", ctypes.c_int64), ("output_view", View),
                ("splits", Splits), ("channel", ctypes.c_int32), ("stream", ctypes.c_void_p)]


def load_a8a(path, mode=ctypes.DEFAULT_MODE):
    library = ctypes.CDLL(path, mode=mode)
    library.a8a_last_error.restype = ctypes.c_char_p
    library.a8a_window_data.restype = ctypes.c_void_p
    library.a8a_window_data.argtypes = [ctypes.c_void_p]
    for name in ("a8a_disconnect", "a8a_leave", "a8a_window_release"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = None
    library.a8a_connect.argtypes = [ctypes.POINTER(ConnectOptions), ctypes.POINTER(ctypes.c_void_p)]
    library.a8a_join.argtypes = [ctypes.c_void_p, ctypes.POINTER(JoinOptions), ctypes.POINTER(ctypes.c_void_p)]
    library.a8a_register_window.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64,
                                            ctypes.POINTER(ctypes.c_void_p)]
    library.a8a_all_to_all.argtypes = [ctypes.c_void_p, ctypes.POINTER(AllToAllParams)]
    return library


def check(library, code, call):
    if code != 0:
        raise RuntimeError(f"{call}: status {code}: {library.a8a_last_error().decode()}")


def run_rank(library, runtime_dir, rank, hold):
    """One rank of two: ROUNDS all-to-alls of fresh rows, each compared byte for byte."""
    client, group, window = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    connect = ConnectOptions(ctypes.sizeof(ConnectOptions), runtime_dir.encode(), b"python", 0)
    check(library, library.a8a_connect(connect, client), "a8a_connect")
    join = JoinOptions(ctypes.sizeof(JoinOptions), b"pair", rank, 2, None, 1, None, 0, 0, 0)
    check(library, library.a8a_join(client, join, group), "a8a_join")
    size = 2 * ROWS * ROW_BYTES
    check(library, library.a8a_register_window(group, b"out", size, 0, window), "a8a_register_window")
    splits = (ctypes.c_int32 * 2)(ROWS, ROWS)
    address = ctypes.cast(splits, ctypes.c_void_p)
    view = View(1, 2 * ROWS, size, ROW_BYTES, ROW_BYTES)

    for step in range(ROUNDS):
        rows = [bytes((17 * step + 29 * source + 31 * target + i) % 256 for i in range(ROWS * ROW_BYTES))
                for source in range(2) for target in range(2)]
        data = ctypes.create_string_buffer(rows[2 * rank] + rows[2 * rank + 1], size)
        params = AllToAllParams(ctypes.sizeof(AllToAllParams), ctypes.cast(data, ctypes.c_void_p), view, window, 0, view,
                                Splits(address, address, None, None, 4), 0, None)
        check(library, library.a8a_all_to_all(group, params), "a8a_all_to_all")
        received = ctypes.string_at(library.a8a_window_data(window), size)
        assert received == rows[rank] + rows[2 + rank], f"rank {rank}, step {step}: wrong rows"

    hold()  # until the statistics were read: they end with the group
    library.a8a_window_release(window)
    library.a8a_leave(group)
    library.a8a_disconnect(client)


class StockClient:
    """What any gRPC client can do with the daemon, knowing nothing but reflection."""

    def __init__(self, runtime_dir):
        import grpc
        from google.protobuf import descriptor_pool, message_factory
        from grpc_health.v1 import health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

        self.channel = grpc.insecure_channel(f"unix:{runtime_dir}/a8a.sock")
        grpc.channel_ready_future(self.channel).result(timeout=PATIENCE_S)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)
        self.message_class = message_factory.GetMessageClass
        self.health_pb2 = health_pb2
        self.health_stub = health_pb2_grpc.HealthStub(self.channel)

    def services(self):
        return set(self.database.get_services())

    def health(self, name):
        request = self.health_pb2.HealthCheckRequest(service=name)
        return self.health_pb2.HealthCheckResponse.ServingStatus.Name(
            self.health_stub.Check(request, timeout=PATIENCE_S).status)

    def stats(self):
        method = self.pool.FindServiceByName("a8a.v1.StatService").methods_by_name["GetStats"]
        request, response = self.message_class(method.input_type), self.message_class(method.output_type)
        call = self.channel.unary_unary("/a8a.v1.StatService/GetStats", request_serializer=request.SerializeToString,
                                        response_deserializer=response.FromString)
        return call(request(), timeout=PATIENCE_S).stats


def check_stock_client(stock):
    services = stock.services()
    for name in ("Session", "Buffer", "Group", "Stat", "Admin"):
        assert f"a8a.v1.{name}Service" in services, f"reflection lists {services}"
        assert stock.health(f"a8a.v1.{name}Service") == "SERVING"
    assert "grpc.health.v1.Health" in services
    assert stock.health("") == "SERVING" and stock.health("device/host") == "SERVING"


def check_counters(stats):
    """What the daemon counted is what the ranks did."""
    assert len(stats.groups) == 1, stats
    assert len(stats.groups[0].ranks) == 2
    for rank in stats.groups[0].ranks:
        total = rank.total
        assert total.all_to_alls == ROUNDS, total
        assert total.rows_sent == total.rows_received == ROUNDS * 2 * ROWS, total
        assert total.bytes_sent == total.bytes_received == ROUNDS * 2 * ROWS * ROW_BYTES, total
        assert not total.errors
        assert rank.windows[0].all_to_alls == ROUNDS and rank.windows[0].bytes == total.bytes_received
    leased = sum(session.leased_bytes for session in stats.sessions)
    assert leased == stats.devices[0].leased_bytes > 0


def run_both(library, runtime_dir, make_stock):
    """All-to-alls in two threads, the stock client in this one, at the same time."""
    failures = []
    finished, release = threading.Semaphore(0), threading.Event()

    def rank_thread(rank):
        try:
            run_rank(library, runtime_dir, rank, lambda: (finished.release(), release.wait(PATIENCE_S)))
        except BaseException as error:  # reported by the main thread
            failures.append(error)
            finished.release()

    threads = [threading.Thread(target=rank_thread, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    stock = make_stock()
    waiting = 2
    while waiting > 0:
        check_stock_client(stock)
        stock.stats()
        while waiting > 0 and finished.acquire(blocking=False):
            waiting -= 1
    try:
        if not failures:
            check_counters(stock.stats())
    finally:
        release.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert not failures, failures


def start_daemon(path, runtime_dir):
    daemon = subprocess.Popen([path, "--backend", "host", "--runtime-dir", runtime_dir], stderr=subprocess.PIPE, text=True)
    for line in daemon.stderr:
        if " serving " in line:
            threading.Thread(target=daemon.stderr.read, daemon=True).start()
            return daemon
    raise RuntimeError(f"the daemon ended with status {daemon.wait()}")


def load_in_order(order, library_path):
    """Loads liba8a and grpcio in the order asked for; returns liba8a."""
    if order == "a8a-first":
        return load_a8a(library_path)
    if order == "a8a-global":
        return load_a8a(library_path, mode=os.RTLD_NOW | os.RTLD_GLOBAL)
    flags = sys.getdlopenflags()
    if order == "grpc-global":
        sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
    import grpc  # noqa: F401  (loaded here for the order)
    sys.setdlopenflags(flags)
    return load_a8a(library_path)


def main():
    daemon_path, library_path, order = sys.argv[1:]
    library = load_in_order(order, library_path)
    with tempfile.TemporaryDirectory() as runtime_dir:
        daemon = start_daemon(daemon_path, runtime_dir)
        try:
            run_both(library, runtime_dir, lambda: StockClient(runtime_dir))
        finally:
            daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(PATIENCE_S) == 0, "the daemon did not stop in order"
    print(f"{order}: {ROUNDS} all-to-alls by two ranks beside another gRPC in the same process, every byte as sent")


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.1f} s")
