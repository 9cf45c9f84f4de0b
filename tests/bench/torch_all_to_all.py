#!/usr/bin/env python3
"""Times PyTorch's all-to-all with splits on the device, torch.ops.symm_mem.all_to_all_vdev, as a peer of kernel_bench.

    torch_all_to_all.py WORLD_SIZE BYTES_PER_RANK...

Ranks are processes that share the first GPU: start MPS first. Rows have 18,432 bytes, as in kernel_bench, and every pair
of ranks gets the same number of them. Prints lines in the form of kernel_bench's. Every figure: LAUNCHES calls, in a
graph or one by one, run twice, the second timed with events; median of REPEATS, the slowest rank. Outputs are checked.
Exit status 3: this PyTorch has no such all-to-all.
"""

import argparse
import os
import statistics
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

ROW_ELEMENTS = 9216  # of bfloat16
DEVICE = torch.device("cuda", 0)  # with its index, as the peers compare it
LAUNCHES = 50
REPEATS = 11
WARM_UPS = 2
CASES = {"launched one by one": False, "in a graph": True}


class Job:
    """One rank's tensors: every rank sends `rows` rows to every rank."""

    def __init__(self, rank, world_size, rows, group_name, symm_mem):
        self._rank, self._world_size, self._rows, self._group_name = rank, world_size, rows, group_name
        shape = (rows * world_size, ROW_ELEMENTS)
        self._input = symm_mem.empty(shape, dtype=torch.bfloat16, device=DEVICE)
        self._output = symm_mem.empty(shape, dtype=torch.bfloat16, device=DEVICE).fill_(-1)
        self._splits = symm_mem.empty(world_size, dtype=torch.int64, device=DEVICE).fill_(rows)
        self._output_splits = symm_mem.empty((2, world_size), dtype=torch.int64, device=DEVICE).zero_()
        for tensor in (self._input, self._output, self._splits, self._output_splits):
            symm_mem.rendezvous(tensor, group=group_name)
        # Exact in bfloat16: at most 64 ranks.
        for peer in range(world_size):
            self._input[peer * rows : (peer + 1) * rows] = rank * 2 + peer % 2
        torch.cuda.synchronize()
        dist.barrier()

    def launch(self):
        torch.ops.symm_mem.all_to_all_vdev(
            self._input, self._output, self._splits, self._output_splits, self._group_name
        )

    def check(self):
        """Raises RuntimeError where the output is not what the peers sent."""
        torch.cuda.synchronize()
        for peer in range(self._world_size):
            rows = self._output[peer * self._rows : (peer + 1) * self._rows]
            want = peer * 2 + self._rank % 2
            if not bool((rows == want).all()):
                raise RuntimeError(f"wrong rows from rank {peer}: expected {want}, got {rows.flatten()[:4].tolist()}")


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


def run_rank(rank, world_size, size, store):
    """One rank's process; `store` is a path that the ranks meet at."""
    os.environ["RANK"], os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"] = str(rank), str(world_size), "0"
    import torch.distributed._symmetric_memory as symm_mem

    torch.cuda.set_device(DEVICE)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    group_name = dist.group.WORLD.group_name
    symm_mem.set_backend("NVSHMEM")
    symm_mem.enable_symm_mem_for_group(group_name)
    job = Job(rank, world_size, size // (2 * ROW_ELEMENTS * world_size), group_name, symm_mem)
    job.launch()
    job.check()
    for name, in_graph in CASES.items():
        us = slowest(time_calls(make_run(job, in_graph)), world_size)
        job.check()
        if rank == 0:
            blocks = int(os.environ["TORCH_SYMMMEM_NBLOCKS"])
            tb_per_s = 2 * world_size * size / us / 1e6
            label = f"PyTorch all_to_all_vdev, {name}"
            print(f"{world_size} ranks {blocks:3d} blocks  {label:<44} {size:>10} B {us:8.2f} us {tb_per_s:6.3f} TB/s")
            sys.stdout.flush()
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world_size", type=int)
    parser.add_argument(
        "--blocks", type=int, default=32, help="TORCH_SYMMMEM_NBLOCKS; its share for a peer must divide the bytes (32)"
    )
    parser.add_argument("sizes", type=int, nargs="+", metavar="bytes_per_rank")
    arguments = parser.parse_args()
    os.environ["TORCH_SYMMMEM_NBLOCKS"] = str(arguments.blocks)
    if not hasattr(torch.ops.symm_mem, "all_to_all_vdev"):
        print(f"torch {torch.__version__} has no symm_mem.all_to_all_vdev", file=sys.stderr)
        return 3
    # New processes for each size: one process that does several ends in a device-side assertion (PyTorch 2.11).
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as directory:
            multiprocessing.spawn(
                run_rank,
                args=(arguments.world_size, size, os.path.join(directory, "store")),
                nprocs=arguments.world_size,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
