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

// The rows of one peer, from `first_row` on. Zero rows lie nowhere.
__device__ inline FaultInfo CheckOne(const SplitSide& side, int peer, std::int64_t rows, std::int64_t first_row) {
  if (rows < 0) return {Fault::kNegativeSplit, peer, rows};
  if (first_row < 0) return {Fault::kNegativeSplit, peer, first_row};
  if (first_row > INT64_MAX - rows) return {Fault::kSplitOverflow, peer, 0};
  const std::int64_t end_row = first_row + rows;
  if (rows > 0 && end_row > side.view_rows) return {side.beyond, side.view_rows, end_row};
  return {Fault::kNone, 0, 0};
}

// By one warp, 32 ranks at a time. The first rank with a fault is told; the prefix sum is right up to there, since the
// ranks before it fit the view.
__device__ inline void ReadSplits(const SplitSide& side, int world_size, SplitTable* table) {
  std::int64_t sum = 0;
  FaultInfo first_fault = {Fault::kNone, 0, 0};
#pragma unroll 1
  for (int first = 0; first < world_size; first += kWarpSize) {
    const int rank = first + Lane();
    std::int64_t rows = 0;
    std::int64_t offset = 0;
    if (rank < world_size) {
      rows = ReadIndex(side.splits, side.type, rank);
      if (side.offsets != nullptr && rows > 0) offset = ReadIndex(side.offsets, side.type, rank);
    }
    const std::int64_t end = sum + InclusiveSum(rows, world_size - first);
    const std::int64_t first_row = side.offsets != nullptr ? offset : end - rows;
    const FaultInfo fault = rank < world_size ? CheckOne(side, rank, rows, first_row) : first_fault;
    const std::uint32_t faulty = __ballot_sync(kFullWarp, rank < world_size && !fault.ok());
    if (rank < world_size) {
      table->rows[rank] = rows;
      table->first_row[rank] = first_row;
    }
    sum = FromLastLane(end, world_size - first);
    if (faulty != 0) {
      const int teller = __ffs(static_cast<int>(faulty)) - 1;
      first_fault.fault = static_cast<Fault>(__shfl_sync(kFullWarp, static_cast<std::uint32_t>(fault.fault), teller));
      first_fault.expected = __shfl_sync(kFullWarp, fault.expected, teller);
      first_fault.actual = __shfl_sync(kFullWarp, fault.actual, teller);
      break;
    }
  }
  if (Lane() != 0) return;
  table->fault = first_fault;
  table->overlap = kNoOverlap;
}

// What a side may move; nothing with a fault.
__device__ inline std::int64_t SumOfRows(const SplitTable& table, int world_size) {
  std::int64_t sum = 0;
  if (!table.fault.ok()) return sum;
  for (int rank = 0; rank < world_size; ++rank) sum += table.rows[rank];
  return sum;
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
