#include "tests/gpu/graph_kernels.h"

namespace a8a::kernels::test {
namespace {

constexpr std::uint64_t kPoison = 0xbadbadbadbadbad1;
constexpr int kThreads = 128;

__device__ std::uint64_t Mix(std::uint64_t value) {  // splitmix64's finalizer
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

__device__ std::uint64_t Name(int from, int to, std::uint64_t step, std::uint32_t tag) {
  return Mix(step * 0x9e3779b97f4a7c15 + static_cast<std::uint64_t>(from) * 64 + static_cast<std::uint64_t>(to) +
             (static_cast<std::uint64_t>(tag) << 32));
}

__device__ int SplitAt(int from, int to, std::uint64_t step, std::uint32_t tag) {
  return static_cast<int>(Name(from, to, step, tag) % kMaxPairRows);
}

__device__ std::uint64_t WordAt(int from, int to, std::uint64_t step, std::uint32_t tag, int row, std::int64_t word) {
  return Mix(Name(from, to, step, tag) + static_cast<std::uint64_t>(row) * 1000003 + static_cast<std::uint64_t>(word));
}

// By one block.
__global__ void MakeStep(StepArgs args) {
  const std::uint64_t step = *args.step;
  std::int64_t first = 0;
  for (int peer = 0; peer < args.world_size; ++peer) {
    const int rows = SplitAt(args.rank, peer, step, args.tag);
    if (threadIdx.x == 0) {
      args.send_rows[peer] = rows;
      args.receive_rows[peer] = SplitAt(peer, args.rank, step, args.tag);
    }
    for (std::int64_t i = threadIdx.x; i < rows * args.row_words; i += kThreads) {
      args.input[first * args.row_words + i] =
          WordAt(args.rank, peer, step, args.tag, static_cast<int>(i / args.row_words), i % args.row_words);
    }
    first += rows;
  }
  const std::int64_t words = args.row_words * kMaxPairRows * args.world_size;
  for (std::int64_t i = threadIdx.x; i < words; i += kThreads) args.output[i] = kPoison;
}

__global__ void CheckStep(StepArgs args) {
  const std::uint64_t step = *args.step;
  std::int64_t first = 0;
  unsigned long long wrong = 0;
  for (int peer = 0; peer < args.world_size; ++peer) {
    const int rows = SplitAt(peer, args.rank, step, args.tag);
    for (std::int64_t i = threadIdx.x; i < rows * args.row_words; i += kThreads) {
      const std::uint64_t expected =
          WordAt(peer, args.rank, step, args.tag, static_cast<int>(i / args.row_words), i % args.row_words);
      if (args.output[first * args.row_words + i] != expected) ++wrong;
    }
    first += rows;
  }
  const std::int64_t words = args.row_words * kMaxPairRows * args.world_size;
  for (std::int64_t i = first * args.row_words + threadIdx.x; i < words; i += kThreads) {
    if (args.output[i] != kPoison) ++wrong;
  }
  if (wrong != 0) atomicAdd(reinterpret_cast<unsigned long long*>(args.mismatches), wrong);
}

__global__ void NextStep(std::uint64_t* step) { ++*step; }

}  // namespace

void LaunchMakeStep(const StepArgs& args, CUstream_st* stream) { MakeStep<<<1, kThreads, 0, stream>>>(args); }
void LaunchCheckStep(const StepArgs& args, CUstream_st* stream) { CheckStep<<<1, kThreads, 0, stream>>>(args); }
void LaunchNextStep(std::uint64_t* step, CUstream_st* stream) { NextStep<<<1, 1, 0, stream>>>(step); }

}  // namespace a8a::kernels::test
