#!/usr/bin/env python3
"""Turns what kernel_bench printed, or the JSON of a8a-bench cuda, into a record of tests/bench/results.

    kernel_bench 8 12 | kernel_bench_json.py --device NAME --driver 580.1 --gpu-count 1 --command TEXT > FILE
"""
import argparse
import datetime
import json
import re
import sys

LINE = re.compile(r"(\d+) ranks\s+(\d+) blocks\s+(.*?)\s{2,}(\d+) B\s+([\d.]+) us\s+([\d.]+) TB/s")
ADDS = re.compile(r"(\d+) ranks\s+(.*?) adds (-?\d+) B of GPU memory")
PEERS = ("earlier structure", "PyTorch all_to_all_vdev", "PyTorch all_to_all_single (NCCL)", "NCCL grouped send and receive",
         "ncclAlltoAll", "permute, NCCL, permute", "NCCL, permute")
HOW = ("each rank a process; a graph of many launches, or as many one by one, run twice, the second timed with events; "
       "median of the repeats, slowest rank; bytes are those that one rank sends, its own rows included; TB/s counts bytes read and written by all "
       "ranks; launches alternate between two windows unless said otherwise")


def record(match):
    world_size, block_count, case, size_bytes, microseconds, rate = match.groups()
    return {
        "system": next((peer for peer in PEERS if case.startswith(peer)), "a8a"),
        "case": case,
        "world_size": int(world_size),
        "block_count": int(block_count),
        "bytes_per_rank": int(size_bytes),
        "median_us": float(microseconds),
        "tb_per_s": float(rate),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("device", "driver", "command"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--gpu-count", type=int, required=True)
    parser.add_argument("--record", help="JSON of a8a-bench cuda; default: kernel_bench's lines on standard input")
    arguments = vars(parser.parse_args())
    path = arguments.pop("record")
    head = {**arguments, "date": datetime.date.today().isoformat()}
    if path:
        with open(path, encoding="utf-8") as file:
            body = json.load(file)
        body.pop("device")
    else:
        lines = sys.stdin.readlines()
        body = {"how": HOW, "records": [record(match) for match in map(LINE.match, lines) if match]}
        added = {match[2]: int(match[3]) for match in map(ADDS.match, lines) if match}
        if added:
            body["gpu_memory_added_bytes_of_a_rank"] = added
    if not body["records"]:
        sys.exit("kernel_bench_json.py: nothing was measured")
    json.dump({**head, **body}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
