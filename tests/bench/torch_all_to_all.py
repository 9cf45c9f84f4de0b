#!/usr/bin/env python3
"""Times other all-to-alls as peers of kernel_bench and a8a-bench cuda.

    torch_all_to_all.py [--system SYSTEM] [--skew SKEW,...] [--blocks N] WORLD_SIZE BYTES_PER_RANK...

Systems. vdev: torch.ops.symm_mem.all_to_all_vdev, with splits on the device. nccl: torch.distributed.all_to_all_single.
nccl-group: ncclSend and ncclRecv to all peers in one group. nccl-alltoall: ncclAlltoAll, even splits only. permute-nccl:
rows transposed by PyTorch, nccl-group, and the result transposed, even splits only; nccl-permute: the latter two. All but
vdev are told the splits on the host.
Skews, as a8a-bench cuda's: none, zipf (destination k places on gets a share of 1 / (k + 1)^1.2), one-hot (everything to
rank 0), shift (everything to the next rank).
Rank r is a process on device r modulo the number of devices; where ranks share one, start MPS first (NCCL refuses). Rows
have 18,432 bytes unless --row-bytes says otherwise. Prints lines in the form of kernel_bench's, and the GPU memory that
the system adds to the tensors. Every figure: LAUNCHES calls, in a graph or one by one, run twice, the second timed with
events; median of REPEATS, the slowest rank. Outputs are checked.
Exit status 3: this PyTorch, or its NCCL, does not have the system.
"""

import argparse
import ctypes
import os
import statistics
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

LAUNCHES = 50
REPEATS = 11
WARM_UPS = 2
CASES = {"launched one by one": False, "in a graph": True}
NAMES = {
    "vdev": "PyTorch all_to_all_vdev",
    "nccl": "PyTorch all_to_all_single (NCCL)",
    "nccl-group": "NCCL grouped send and receive",
    "nccl-alltoall": "ncclAlltoAll",
    "permute-nccl": "permute, NCCL, permute",
    "nccl-permute": "NCCL, permute",
}
EVEN_ONLY = ("nccl-alltoall", "permute-nccl", "nccl-permute")
SKEWS = {
    "none": lambda sender, receiver, world_size: 1.0,
    "zipf": lambda sender, receiver, world_size: ((receiver - sender) % world_size + 1) ** -1.2,
    "one-hot": lambda sender, receiver, world_size: float(receiver == 0),
    "shift": lambda sender, receiver, world_size: float(receiver == (sender + 1) % world_size),
}
NOT_THERE = 3


def split_rows(total, skew, world_size):
    """[sender][receiver]: rows; what does not divide goes to the sender itself."""
    rows = []
    for sender in range(world_size):
        weights = [SKEWS[skew](sender, receiver, world_size) for receiver in range(world_size)]
        shares = [int(total * weight / sum(weights)) for weight in weights]
        shares[sender] += total - sum(shares)
        rows.append(shares)
    return rows


class Nccl:
    """NCCL's own interface, with a communicator of all ranks."""

    UINT8 = 1

    class UniqueId(ctypes.Structure):
        _fields_ = [("internal", ctypes.c_char * 128)]

    def __init__(self, rank, world_size):
        self.library = ctypes.CDLL("libnccl.so.2")
        unique_id = self.UniqueId()
        if rank == 0:
            self.check(self.library.ncclGetUniqueId(ctypes.byref(unique_id)))
        values = [bytes(unique_id)]
        dist.broadcast_object_list(values, src=0)
        ctypes.memmove(ctypes.byref(unique_id), values[0], 128)
        self.comm = ctypes.c_void_p()
        self.check(self.library.ncclCommInitRank(ctypes.byref(self.comm), world_size, unique_id, rank))

    @staticmethod
    def check(result):
        if result != 0:
            raise RuntimeError(f"NCCL: error {result}")

    @staticmethod
    def stream():
        return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

    def exchange(self, sent, received):
        """`sent` and `received`: by peer, a tensor or None."""
        self.check(self.library.ncclGroupStart())
        for peer, (to, from_) in enumerate(zip(sent, received)):
            for call, tensor in ((self.library.ncclSend, to), (self.library.ncclRecv, from_)):
                if tensor.numel() == 0:
                    continue
                self.check(
                    call(
                        ctypes.c_void_p(tensor.data_ptr()),
                        ctypes.c_size_t(tensor.nbytes),
                        self.UINT8,
                        peer,
                        self.comm,
                        self.stream(),
                    )
                )
        self.check(self.library.ncclGroupEnd())

    def all_to_all(self, sent, received, world_size):
        self.check(
            self.library.ncclAlltoAll(
                ctypes.c_void_p(sent.data_ptr()),
                ctypes.c_void_p(received.data_ptr()),
                ctypes.c_size_t(sent.nbytes // world_size),
                self.UINT8,
                self.comm,
                self.stream(),
            )
        )


class Job:
    """One rank's tensors. rows[sender][receiver]."""

    def __init__(self, rank, options, rows, device):
        self.send_rows = rows[rank]
        self.receive_rows = [of_sender[rank] for of_sender in rows]
        self.row_elems = options.row_bytes // 2
        self.device = device
        self.make_tensors(rows, options)

    def make_tensors(self, rows, options):
        self.input = torch.empty((sum(self.send_rows), self.row_elems), dtype=torch.bfloat16, device=self.device)
        self.output = self.input.new_full((sum(self.receive_rows), self.row_elems), -1)

    def tensors_outside_of_pytorch(self):
        """Bytes of tensors that PyTorch's allocator does not know of."""
        return 0

    def sent(self, peer):
        first = sum(self.send_rows[:peer])
        return self.input[first : first + self.send_rows[peer]]

    def received(self, peer):
        first = sum(self.receive_rows[:peer])
        return self.output[first : first + self.receive_rows[peer]]


class VdevJob(Job):
    def make_tensors(self, rows, options):
        import torch.distributed._symmetric_memory as symm_mem

        self._group_name = dist.group.WORLD.group_name
        symm_mem.set_backend("NVSHMEM")
        symm_mem.enable_symm_mem_for_group(self._group_name)
        world_size = options.world_size
        # As large as the largest on any rank: symmetric.
        input_rows = max(sum(of_sender) for of_sender in rows)
        output_rows = max(sum(column) for column in zip(*rows))
        kinds = {"dtype": torch.bfloat16, "device": self.device}
        self._whole_input = symm_mem.empty((input_rows, self.row_elems), **kinds)
        self.input = self._whole_input[: sum(self.send_rows)]
        self.output = symm_mem.empty((output_rows, self.row_elems), **kinds).fill_(-1)
        self._splits = symm_mem.empty(world_size, dtype=torch.int64, device=self.device)
        self._splits.copy_(torch.tensor(self.send_rows, dtype=torch.int64))
        self._output_splits = symm_mem.empty((2, world_size), dtype=torch.int64, device=self.device).zero_()
        for tensor in (self._whole_input, self.output, self._splits, self._output_splits):
            symm_mem.rendezvous(tensor, group=self._group_name)

    def tensors_outside_of_pytorch(self):
        return self._whole_input.nbytes + self.output.nbytes

    def launch(self):
        torch.ops.symm_mem.all_to_all_vdev(
            self._whole_input, self.output, self._splits, self._output_splits, self._group_name
        )


class TorchNcclJob(Job):
    def launch(self):
        dist.all_to_all_single(self.output, self.input, self.receive_rows, self.send_rows)


class NcclGroupJob(Job):
    nccl = None  # made once a process

    def make_tensors(self, rows, options):
        super().make_tensors(rows, options)
        self._sent = list(self.input.split(self.send_rows))
        self._received = [self.received(peer) for peer in range(options.world_size)]

    def launch(self):
        self.nccl.exchange(self._sent, self._received)


class NcclAllToAllJob(Job):
    nccl = None

    def launch(self):
        self.nccl.all_to_all(self.input, self.output, len(self.send_rows))


class PermutedJob(Job):
    """From [rows, world_size] to [world_size, rows], exchanged, and back; or without the first."""

    nccl = None
    permutes_input = True

    def make_tensors(self, rows, options):
        super().make_tensors(rows, options)
        world_size = options.world_size
        self._shape = (world_size, self.send_rows[0], self.row_elems)
        self._staged_input = torch.empty_like(self.input) if self.permutes_input else self.input
        self._staged_output = torch.empty_like(self.output)
        self._sent = list(self._staged_input.split(self.send_rows))
        self._received = list(self._staged_output.split(self.receive_rows))

    def launch(self):
        world_size, rows, elems = self._shape
        if self.permutes_input:
            self._staged_input.view(self._shape).copy_(self.input.view(rows, world_size, elems).transpose(0, 1))
        self.nccl.exchange(self._sent, self._received)
        self.output.view(rows, world_size, elems).copy_(self._staged_output.view(self._shape).transpose(0, 1))

    def received(self, peer):
        world_size, rows, elems = self._shape
        return self.output.view(rows, world_size, elems)[:, peer]

    def sent(self, peer):
        world_size, rows, elems = self._shape
        return self.input.view(rows, world_size, elems)[:, peer]


class PermutedOutputJob(PermutedJob):
    permutes_input = False

    def sent(self, peer):
        return Job.sent(self, peer)


JOBS = {
    "vdev": VdevJob,
    "nccl": TorchNcclJob,
    "nccl-group": NcclGroupJob,
    "nccl-alltoall": NcclAllToAllJob,
    "permute-nccl": PermutedJob,
    "nccl-permute": PermutedOutputJob,
}


def fill(job, rank, world_size):
    # Exact in bfloat16: at most 64 ranks.
    for peer in range(world_size):
        job.sent(peer).fill_(rank * 2 + peer % 2)
    torch.cuda.synchronize()
    dist.barrier()


def check(job, rank, world_size):
    """Raises RuntimeError where the output is not what the peers sent."""
    torch.cuda.synchronize()
    for peer in range(world_size):
        got = job.received(peer)
        want = peer * 2 + rank % 2
        if not bool((got == want).all()):
            raise RuntimeError(f"wrong rows from rank {peer}: expected {want}, got {got.flatten()[:4].tolist()}")


def time_calls(run):
    """Median microseconds of one call; run() makes LAUNCHES of them."""
    times = []
    for repeat in range(WARM_UPS + REPEATS):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        dist.barrier()
        run()
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        if repeat >= WARM_UPS:
            times.append(1000 * start.elapsed_time(stop) / LAUNCHES)
    return statistics.median(times)


def make_run(job, in_graph):
    def one_by_one():
        for _ in range(LAUNCHES):
            job.launch()

    if not in_graph:
        return one_by_one
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        one_by_one()
    return graph.replay


def slowest(value, world_size):
    """The largest value over all ranks."""
    values = [None] * world_size
    dist.all_gather_object(values, value)
    return max(values)


def added_bytes(job, free_before):
    """GPU memory that is gone, tensors apart. `free_before`: what was free without any."""
    free, _ = torch.cuda.mem_get_info()
    return free_before - free - torch.cuda.memory_reserved() - job.tensors_outside_of_pytorch()


def run_case(rank, options, job, skew, moved):
    world_size = options.world_size
    fill(job, rank, world_size)
    job.launch()
    check(job, rank, world_size)
    for name, in_graph in CASES.items():
        us = slowest(time_calls(make_run(job, in_graph)), world_size)
        check(job, rank, world_size)
        if rank == 0:
            tb_per_s = 2 * world_size * moved / us / 1e6
            label = f"{NAMES[options.system]}, {name}" + ("" if skew == "none" else f", {skew}")
            figures = f"{moved:>10} B {us:8.2f} us {tb_per_s:6.3f} TB/s"
            print(f"{world_size} ranks {options.blocks:3d} blocks  {label:<44}  {figures}", flush=True)


def run_rank(rank, options, sizes, skews, store):
    """One rank's process; `store` is a path that the ranks meet at."""
    world_size = options.world_size
    # With its index: PyTorch compares it with that of its peers.
    device = torch.device("cuda", rank % torch.cuda.device_count())
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(device.index))
    torch.cuda.set_device(device)
    torch.zeros(1, device=device).cpu()  # so that the context is there
    free_before = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    backend = "cpu:gloo,cuda:nccl" if options.system == "nccl" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=world_size)
    job_class = JOBS[options.system]
    if hasattr(job_class, "nccl"):
        job_class.nccl = Nccl(rank, world_size)
    added = 0
    for size in sizes:
        for skew in skews:
            total = max(1, size // (options.row_bytes * world_size)) * world_size
            job = job_class(rank, options, split_rows(total, skew, world_size), device)
            run_case(rank, options, job, skew, total * options.row_bytes)
            added = max(added, added_bytes(job, free_before))
            del job
            torch.cuda.empty_cache()
    most = slowest(added, world_size)
    if rank == 0:
        print(f"{world_size} ranks  {NAMES[options.system]} adds {most} B of GPU memory", flush=True)
    dist.destroy_process_group()


def is_there(system):
    if system == "vdev":
        return hasattr(torch.ops.symm_mem, "all_to_all_vdev")
    if system == "nccl-alltoall":
        return hasattr(ctypes.CDLL("libnccl.so.2"), "ncclAlltoAll")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=NAMES, default="vdev")
    parser.add_argument("--skew", default="none", help="of " + ", ".join(SKEWS))
    parser.add_argument(
        "--blocks", type=int, default=32, help="TORCH_SYMMMEM_NBLOCKS; its share for a peer must divide the bytes (32)"
    )
    parser.add_argument("--row-bytes", type=int, default=18432)
    parser.add_argument("world_size", type=int)
    parser.add_argument("sizes", type=int, nargs="+", metavar="bytes_per_rank")
    options = parser.parse_args()
    os.environ["TORCH_SYMMMEM_NBLOCKS"] = str(options.blocks)
    if not is_there(options.system):
        print(f"torch {torch.__version__} has no {NAMES[options.system]}", file=sys.stderr)
        return NOT_THERE
    skews = [skew for skew in options.skew.split(",") if skew == "none" or options.system not in EVEN_ONLY]
    runs = [(options.sizes, skews)]
    if options.system == "vdev":
        # New processes for each: one process that does several ends in a device-side assertion (PyTorch 2.11).
        runs = [([size], [skew]) for size in options.sizes for skew in skews]
    for sizes, of_skews in runs:
        with tempfile.TemporaryDirectory() as directory:
            store = os.path.join(directory, "store")
            multiprocessing.spawn(run_rank, args=(options, sizes, of_skews, store), nprocs=options.world_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
