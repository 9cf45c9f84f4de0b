// What kernels are told, and what Prepare leaves for the all-to-alls of its plan.
#ifndef A8A_KERNELS_CUDA_PLAN_H_
#define A8A_KERNELS_CUDA_PLAN_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/fault_class.h"
#include "kernels/include/all_to_all.h"
#include "kernels/include/cuda_all_to_all.h"

namespace a8a::kernels::cuda {

// Threads of a block. 16 warps with kUnroll 16-byte loads each keep 32 KiB in flight, enough for 16 blocks to reach
// 2.7 TB/s on an H100; smaller blocks need more of them, and with them more flags.
inline constexpr int kThreads = 512;
inline constexpr int kWarpSize = 32;
inline constexpr int kWarps = kThreads / kWarpSize;

// Where the words of one channel lie in every flags segment, in bytes: FlagsLayout, worked out once on the host.
struct ChannelOffsets {
  std::uint64_t shared;    // DeviceChannel
  std::uint64_t blocks;    // BlockState
  std::uint64_t exchange;  // ExchangeCell
  std::uint64_t done;      // StampedWord
  std::uint64_t ready;     // uint64
  std::uint64_t rank;      // DeviceRank
};

constexpr ChannelOffsets OffsetsOf(const FlagsLayout& layout, int channel) {
  return {layout.DeviceChannelOffset(channel),       layout.BlockStateOffset(channel, 0),
          layout.ExchangeOffset(channel, 0, 0),      layout.BlockDoneOffset(channel, 0, 0, 0),
          layout.BlockReadyOffset(channel, 0, 0, 0), layout.DeviceRankOffset()};
}

// Where the segments of a group lie, as one rank's device sees them.
struct GroupTable {
  int rank;
  int world_size;
  int block_count;
  int reserved;
  ChannelOffsets offsets;
  std::byte* control;          // GroupControl
  std::byte* channel_control;  // ChannelControl of this rank
  std::byte* rank_control;     // RankControl of this rank
  std::byte* flags[kMaxWorldSize];
};

// One side of the rows of a pair: row q, from the pair's first row on, lies at base + q * stride, plus `jump` for each
// time that first_inner + q passes a multiple of inner_size.
struct RowSteps {
  std::int64_t base;
  std::int64_t stride;
  std::int64_t inner_size;
  std::int64_t first_inner;
  std::int64_t jump;
};

// From the least to the most that a copy has to compute.
enum class CopyKind : std::uint32_t { kLinear, kAffine, kStepped };

// The rows of one pair, on the sender. Its bytes are [begin_bytes, begin_bytes + size_bytes) of all that the rank
// sends.
struct alignas(16) SendPair {
  std::int64_t begin_bytes;
  std::int64_t size_bytes;
  RowSteps from;  // base relative to the input
  RowSteps to;    // base is an address
  CopyKind kind;
  std::uint32_t alignment_bits;  // all addresses, strides and sizes of the pair, input apart, combined by or
  std::int32_t peer;
  std::int32_t reserved;
};
static_assert(sizeof(SendPair) % 16 == 0);

// In device memory. Peers are in the order rank + 1, rank + 2, ..., rank, so that no receiver is hit by all at once.
struct alignas(256) DevicePlan {
  std::int64_t row_bytes;
  std::int64_t block_bytes;  // what one block moves, a multiple of kBlockGrain
  std::int64_t total_bytes;
  std::int64_t rows_sent;
  std::int64_t rows_received;
  std::uint32_t any_fault;
  std::int32_t reserved;
  GroupTable group;
  std::int64_t send_rows[kMaxWorldSize];     // by rank
  std::int64_t receive_rows[kMaxWorldSize];  // by rank
  Fault send_faults[kMaxWorldSize];          // by rank
  Fault receive_faults[kMaxWorldSize];       // by rank
  SendPair pairs[kMaxWorldSize];
};
static_assert(sizeof(DevicePlan) <= kPlanBytes && alignof(DevicePlan) <= kPlanAlignment);

// Small on purpose: arguments travel with every launch, and several ranks' launches queue up at one device.
struct PreparedArgs {
  const DevicePlan* plan;
  const std::byte* input;
  std::int64_t timeout_ns;
  std::byte* flags;    // own segment
  std::byte* control;  // GroupControl
  ChannelOffsets offsets;
  std::int32_t rank;
  std::int32_t world_size;
  std::int32_t window_index;
  std::int32_t reserved;
};

// Of one-shot and Prepare. Blocks copy it to shared memory, 16 bytes a thread.
struct alignas(16) ExchangeArgs {
  GroupTable group;
  DevicePlan* plan;  // Prepare only
  const std::byte* input;
  RowLayout input_layout;
  RowLayout output_layout;
  std::int64_t output_offset_bytes;
  std::int64_t input_rows;   // of the view
  std::int64_t output_rows;  // of the view
  SplitsView splits;
  std::int64_t timeout_ns;
  std::int32_t window_index;
  std::byte* window_base[kMaxWorldSize];
  std::int64_t window_size_bytes[kMaxWorldSize];
};
static_assert(sizeof(ExchangeArgs) % 16 == 0);

// The kernels, for cudaLaunchKernelExC. Each takes its arguments by value.
const void* PreparedKernel();  // PreparedArgs; block_count + 1 blocks
const void* OneShotKernel();   // ExchangeArgs; block_count + 1 blocks
const void* PrepareKernel();   // ExchangeArgs; one block

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_PLAN_H_
