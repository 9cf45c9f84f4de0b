// What the parent of `a8a-bench cuda` shares with the ranks of one group: a CudaBoard for each world size.
#ifndef A8A_CLIENT_TOOLS_BENCH_CUDA_BOARD_H_
#define A8A_CLIENT_TOOLS_BENCH_CUDA_BOARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "client/tools/bench/board.h"
#include "client/tools/process_barrier.h"
#include "kernels/include/limits.h"

namespace a8a::bench {

inline constexpr int kMaxSizes = 32;
inline constexpr int kMaxRepeats = 101;
inline constexpr int kMaxCudaSamples = 512;

enum class CudaCase : int {
  kPrepared,        // launches in one graph, back to back
  kPreparedSingly,  // launched one by one
  kOneShot,
  kPrepare,
  kTransposed,  // prepared, each sender's rows every world_size rows: the tp2dp view
  kOneHot,      // prepared, every rank sends everything to rank 0
  kShift,       // prepared, every rank sends everything to the next rank
  kZipf,        // prepared, destination k places on gets a share of 1 / (k + 1)^1.2
  kMemcpy,      // cudaMemcpyAsync of the same bytes, one stream for each rank, by rank 0 alone
};

// One case and size: the slowest rank of each repeat, over the repeats.
struct CudaSample {
  CudaCase the_case = CudaCase::kPrepared;
  std::int64_t bytes = 0;  // that a rank sends
  double median_us = 0;
  double p95_us = 0;
  double max_us = 0;
};

struct CudaBoard {
  // What was asked for.
  char runtime_dir[kMaxRuntimeDirBytes + 1];
  char group[33];
  int world_size;
  int size_count;
  std::int64_t sizes_bytes[kMaxSizes];
  std::int64_t row_bytes;
  int launches;
  int repeats;

  tools::ProcessBarrier barrier;
  double repeat_us[kMaxWorldSize][kMaxRepeats];  // of the case that runs, by rank

  // Written by rank 0.
  char device[320];
  std::int64_t overhead_bytes;  // Group::overhead_bytes
  std::atomic<int> sample_count;
  CudaSample samples[kMaxCudaSamples];

  char errors[kMaxWorldSize][512];  // by rank; empty: none
};

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_CUDA_BOARD_H_
