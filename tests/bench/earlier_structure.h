// The kernel that ours are compared with: built as the earlier public one was. See earlier_structure.cu.
#ifndef A8A_TESTS_BENCH_EARLIER_STRUCTURE_H_
#define A8A_TESTS_BENCH_EARLIER_STRUCTURE_H_

#include <cstdint>

#include "kernels/include/cuda_all_to_all.h"
#include "kernels/include/limits.h"

namespace a8a::bench {

// One destination's rows, in the table that the host makes ahead of time.
struct EarlierEntry {
  const std::byte* from;
  std::byte* to;
  std::int64_t rows;
  std::int64_t from_stride;
  std::int64_t to_stride;
  std::int64_t first_warp;  // of those that work for this destination
  std::int64_t warps;
};

struct EarlierArgs {
  const EarlierEntry* table;  // world_size entries, in device memory
  int world_size;
  std::int64_t row_vectors;
  std::uint64_t* epochs;                        // own device memory, one for each block
  std::uint64_t* arrivals;                      // own; peers count up
  std::uint64_t* peer_arrivals[kMaxWorldSize];  // theirs
};

void LaunchEarlier(const EarlierArgs& args, int block_count, kernels::cuda::Stream stream);

// The prepared kernel without counters, for cudaLaunchKernelExC with PreparedArgs.
const void* PreparedKernelWithoutCounters();

}  // namespace a8a::bench

#endif  // A8A_TESTS_BENCH_EARLIER_STRUCTURE_H_
