// The CUDA data plane: the all-to-all of the design as kernels on a stream.
//
// Mirrors host_all_to_all.h: collective over the ranks of the group on one channel, in the same order on every rank; a
// channel belongs to one stream (or one branch of a graph) at a time. Every function only launches one kernel: it can
// be captured in a graph, allocates nothing and waits for nothing. GroupView::block_count blocks run an all-to-all, on
// every rank alike; all blocks of all ranks and channels that share a device and run at once must fit it together.
//
// What a call returns is what can be seen on the host: INVALID_ARGUMENT as on the host data plane, or the launch's
// failure. Everything else is found by the kernel, with the codes of host_all_to_all.h, and told by TakeStatus once
// the stream has got there. An all-to-all that gave up on a peer leaves the channel waiting, at its next operations,
// until every rank has finished the one that was given up, so that late rows land in no later output.
//
// Pointers: GroupView::control is the control segment, registered with cudaHostRegister; flags, windows, input and
// splits are device memory that this rank's device can reach.
#ifndef A8A_KERNELS_INCLUDE_CUDA_ALL_TO_ALL_H_
#define A8A_KERNELS_INCLUDE_CUDA_ALL_TO_ALL_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "kernels/include/all_to_all.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace a8a::kernels::cuda {

using Stream = CUstream_st*;

// Blocks of one grid: more than a few per multiprocessor never paid.
inline constexpr int kMaxBlockCount = 512;

// Device memory that a plan needs, and its alignment.
inline constexpr std::size_t kPlanBytes = 12288;
inline constexpr std::size_t kPlanAlignment = 256;

// Splits exchanged and checked once, for many all-to-alls on one channel and window. `device` is kPlanBytes of memory
// on the rank's device, the caller's; it is written by Prepare's kernel and read by those of AllToAll, so it lives as
// long as a graph that holds either. The group and window of `params` must outlive the plan.
struct Plan {
  void* device = nullptr;
  AllToAllParams params;  // as given to Prepare
  bool prepared = false;  // Prepare has been launched or captured
};

// One-shot: reads the splits, exchanges credits, moves the rows. Safe for any order of windows.
[[nodiscard]] absl::Status AllToAll(const AllToAllParams& params, Stream stream);

// Exchanges and checks the splits; moves nothing and does not look at params.input. Requires plan->device.
[[nodiscard]] absl::Status Prepare(const AllToAllParams& params, Plan* plan, Stream stream);

// Moves the rows of a plan. An output must have been read, in stream order, before the channel's next all-to-all; a
// window that the channel's previous all-to-all wrote too costs one exchange of credits more.
[[nodiscard]] absl::Status AllToAll(const Plan& plan, const std::byte* input, std::int64_t timeout_ns, Stream stream);

// As host::TakeStatus: what kernels that have ended found. Waits for no stream.
[[nodiscard]] absl::Status TakeStatus(const GroupView& group, int channel);

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_INCLUDE_CUDA_ALL_TO_ALL_H_
