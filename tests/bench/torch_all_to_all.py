#!/usr/bin/env python3
"""Times PyTorch's all-to-alls as peers of kernel_bench and a8a-bench cuda.

    torch_all_to_all.py [--system vdev|nccl] [--blocks N] WORLD_SIZE BYTES_PER_RANK...

vdev: torch.ops.symm_mem.all_to_all_vdev, with splits on the device. nccl: torch.distributed.all_to_all_single, with
even splits known to the host. Rank r is a process on device r modulo the number of devices; where ranks share one, start MPS
first (NCCL refuses). Rows have 18,432 bytes unless --row-bytes says otherwise, and every pair of ranks gets the same
number of them. Prints lines in the form of kernel_bench's. Every figure: LAUNCHES calls, in a graph or one by one, run
twice, the second timed with events; median of REPEATS, the slowest rank. Outputs are checked.
Exit status 3: this PyTorch has no all_to_all_vdev.
"""

import argparse
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
NAMES = {"vdev": "PyTorch all_to_all_vdev", "nccl": "PyTorch all_to_all_single (NCCL)"}


class VdevJob:
    """One rank's tensors: every rank sends `rows` rows to every rank."""

    def __init__(self, rank, options, rows, device):
        import torch.distributed._symmetric_memory as symm_mem

        self._group_name = dist.group.WORLD.group_name
        symm_mem.set_backend("NVSHMEM")
        symm_mem.enable_symm_mem_for_group(self._group_name)
        world_size = options.world_size
        shape = (rows * world_size, options.row_bytes // 2)
        self.input = symm_mem.empty(shape, dtype=torch.bfloat16, device=device)
        self.output = symm_mem.empty(shape, dtype=torch.bfloat16, device=device).fill_(-1)
        self._splits = symm_mem.empty(world_size, dtype=torch.int64, device=device).fill_(rows)
        self._output_splits = symm_mem.empty((2, world_size), dtype=torch.int64, device=device).zero_()
        for tensor in (self.input, self.output, self._splits, self._output_splits):
            symm_mem.rendezvous(tensor, group=self._group_name)

    def launch(self):
        torch.ops.symm_mem.all_to_all_vdev(
            self.input, self.output, self._splits, self._output_splits, self._group_name
        )


class NcclJob:
    def __init__(self, rank, options, rows, device):
        shape = (rows * options.world_size, options.row_bytes // 2)
        self.input = torch.empty(shape, dtype=torch.bfloat16, device=device)
        self.output = torch.empty(shape, dtype=torch.bfloat16, device=device).fill_(-1)

    def launch(self):
        dist.all_to_all_single(self.output, self.input)


def fill(job, rank, world_size, rows):
    # Exact in bfloat16: at most 64 ranks.
    for peer in range(world_size):
        job.input[peer * rows : (peer + 1) * rows] = rank * 2 + peer % 2
    torch.cuda.synchronize()
    dist.barrier()


def check(job, rank, world_size, rows):
    """Raises RuntimeError where the output is not what the peers sent."""
    torch.cuda.synchronize()
    for peer in range(world_size):
        got = job.output[peer * rows : (peer + 1) * rows]
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


def run_rank(rank, options, size, store):
    """One rank's process; `store` is a path that the ranks meet at."""
    world_size = options.world_size
    # With its index: PyTorch compares it with that of its peers.
    device = torch.device("cuda", rank % torch.cuda.device_count())
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(device.index))
    torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if options.system == "nccl" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=world_size)
    rows = max(1, size // (options.row_bytes * world_size))
    job = (VdevJob if options.system == "vdev" else NcclJob)(rank, options, rows, device)
    fill(job, rank, world_size, rows)
    job.launch()
    check(job, rank, world_size, rows)
    moved = rows * world_size * options.row_bytes
    for name, in_graph in CASES.items():
        us = slowest(time_calls(make_run(job, in_graph)), world_size)
        check(job, rank, world_size, rows)
        if rank == 0:
            tb_per_s = 2 * world_size * moved / us / 1e6
            label = f"{NAMES[options.system]}, {name}"
            figures = f"{moved:>10} B {us:8.2f} us {tb_per_s:6.3f} TB/s"
            print(f"{world_size} ranks {options.blocks:3d} blocks  {label:<44}  {figures}")
            sys.stdout.flush()
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", choices=NAMES, default="vdev")
    parser.add_argument(
        "--blocks", type=int, default=32, help="TORCH_SYMMMEM_NBLOCKS; its share for a peer must divide the bytes (32)"
    )
    parser.add_argument("--row-bytes", type=int, default=18432)
    parser.add_argument("world_size", type=int)
    parser.add_argument("sizes", type=int, nargs="+", metavar="bytes_per_rank")
    options = parser.parse_args()
    os.environ["TORCH_SYMMMEM_NBLOCKS"] = str(options.blocks)
    if options.system == "vdev" and not hasattr(torch.ops.symm_mem, "all_to_all_vdev"):
        print(f"torch {torch.__version__} has no symm_mem.all_to_all_vdev", file=sys.stderr)
        return 3
    # New processes for each size: one process that does several ends in a device-side assertion (PyTorch 2.11).
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as directory:
            multiprocessing.spawn(
                run_rank, args=(options, size, os.path.join(directory, "store")), nprocs=options.world_size
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
