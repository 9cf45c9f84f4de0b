// Reading split and offset arrays, once, into numbers that are safe to use. The rules are those of kernels/host/splits.
#ifndef A8A_KERNELS_CUDA_SPLITS_DEVICE_CUH_
#define A8A_KERNELS_CUDA_SPLITS_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/epoch_device.cuh"

namespace a8a::kernels::cuda {

// In shared memory. With a fault, the numbers mean nothing.
struct SplitTable {
  FaultInfo fault;
  std::int64_t rows[kMaxWorldSize];
  std::int64_t first_row[kMaxWorldSize];
  std::uint32_t overlap;  // the least lower << 8 | higher of two ranks whose rows overlap
};

// One side's arrays, and what they may reach.
struct SplitSide {
  const void* splits;
  const void* offsets;  // null: prefix sums
  IndexType type;
  std::int64_t view_rows;
  Fault beyond;
};

inline constexpr std::uint32_t kNoOverlap = ~std::uint32_t{0};

__device__ inline std::int64_t ReadIndex(const void* array, IndexType type, int index) {
  return type == IndexType::kInt32 ? static_cast<const std::int32_t*>(array)[index]
                                   : static_cast<const std::int64_t*>(array)[index];
}

// `next_row` is the prefix sum up to here.
__device__ inline FaultInfo CheckOne(const SplitSide& side, int peer, std::int64_t* next_row, SplitTable* table) {
  const std::int64_t rows = table->rows[peer];
  if (rows < 0) return {Fault::kNegativeSplit, peer, rows};
  const bool given = side.offsets != nullptr && rows > 0;
  const std::int64_t first_row = given ? table->first_row[peer] : *next_row;
  if (first_row < 0) return {Fault::kNegativeSplit, peer, first_row};
  if (first_row > INT64_MAX - rows) return {Fault::kSplitOverflow, peer, 0};
  const std::int64_t end_row = first_row + rows;
  if (rows > 0 && end_row > side.view_rows) return {side.beyond, side.view_rows, end_row};
  table->first_row[peer] = first_row;
  *next_row = end_row;
  return {Fault::kNone, 0, 0};
}

// By one warp: loads in parallel, then one lane adds up, which for 64 ranks is still a microsecond.
__device__ inline void ReadSplits(const SplitSide& side, int world_size, SplitTable* table) {
  for (int rank = Lane(); rank < world_size; rank += kWarpSize) {
    table->rows[rank] = ReadIndex(side.splits, side.type, rank);
    table->first_row[rank] = side.offsets != nullptr ? ReadIndex(side.offsets, side.type, rank) : 0;
  }
  __syncwarp();
  if (Lane() != 0) return;
  FaultInfo fault = {Fault::kNone, 0, 0};
  std::int64_t next_row = 0;
  for (int rank = 0; rank < world_size && fault.ok(); ++rank) fault = CheckOne(side, rank, &next_row, table);
  table->fault = fault;
  table->overlap = kNoOverlap;
}

// By all threads of the block, where output offsets are given; prefix sums cannot overlap. Of several pairs the least
// is named. Ends with __syncthreads.
__device__ inline void FindOverlap(int world_size, SplitTable* table) {
  if (table->fault.ok()) {
    for (int i = static_cast<int>(threadIdx.x); i < world_size * world_size; i += kThreads) {
      const int a = i / world_size;
      const int b = i % world_size;
      if (a >= b || table->rows[a] == 0 || table->rows[b] == 0) continue;
      const bool apart = table->first_row[a] + table->rows[a] <= table->first_row[b] ||
                         table->first_row[b] + table->rows[b] <= table->first_row[a];
      if (!apart) atomicMin(&table->overlap, static_cast<std::uint32_t>(a << 8 | b));
    }
  }
  __syncthreads();
  if (threadIdx.x == 0 && table->overlap != kNoOverlap) {
    table->fault = {Fault::kOverlappingOutput, static_cast<std::int64_t>(table->overlap >> 8),
                    static_cast<std::int64_t>(table->overlap & 0xff)};
  }
  __syncthreads();
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_SPLITS_DEVICE_CUH_
