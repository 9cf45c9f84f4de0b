// The kernel of prepared all-to-alls; prepared.cu says what it does. A template, so that a benchmark can build it
// without counters as well.
#ifndef A8A_KERNELS_CUDA_PREPARED_DEVICE_CUH_
#define A8A_KERNELS_CUDA_PREPARED_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/copy_device.cuh"
#include "kernels/cuda/epoch_device.cuh"
#include "kernels/cuda/finish_device.cuh"

namespace a8a::kernels::cuda {

// By warp 0.
__device__ inline void FillPeers(const DevicePlan& plan, int world_size, PeerTable* peers) {
  for (int rank = Lane(); rank < world_size; rank += kWarpSize) {
    peers->segment[rank] = plan.group.flags[rank];
    peers->send_rows[rank] = plan.send_rows[rank];
    peers->receive_rows[rank] = plan.receive_rows[rank];
    const Fault send = plan.send_faults[rank];
    const Fault receive = plan.receive_faults[rank];
    peers->send[rank] = {send == Fault::kNone ? send : Fault::kNotPrepared, 0, static_cast<std::int64_t>(send)};
    peers->receive[rank] = {receive == Fault::kNone ? receive : Fault::kNotPrepared, 0,
                            static_cast<std::int64_t>(receive)};
  }
  if (Lane() == 0) {
    peers->aborted = {Fault::kNone, 0, 0};
    peers->own[0] = {Fault::kNone, 0, 0};
    peers->own[1] = {Fault::kNone, 0, 0};
    peers->unwritable = 0;
  }
  __syncwarp();
}

__device__ inline void CopyPairsToShared(const SendPair* plan_pairs, int world_size, SendPair* pairs) {
  constexpr int kWordsPerPair = sizeof(SendPair) / sizeof(uint4);
  const auto* words = reinterpret_cast<const uint4*>(plan_pairs);
  for (int i = static_cast<int>(threadIdx.x); i < world_size * kWordsPerPair; i += kThreads) {
    reinterpret_cast<uint4*>(pairs)[i] = words[i];
  }
}

// By warp 0, where the epoch cannot begin at once.
__device__ inline void BeginSlowly(const Channel& channel, Waiter& waiter, PeerTable* peers, const Outlook& outlook,
                                   std::int64_t timeout_ns) {
  waiter = EnterSlowly(channel, waiter, peers, outlook, timeout_ns);
  __syncwarp();
  CloseFaultySends(channel, peers);
}

// kCounts: the grid has one block more, the last, which counts.
template <bool kCounts>
__global__ void __launch_bounds__(kThreads, 1) PreparedAllToAll(const __grid_constant__ PreparedArgs args) {
  __shared__ SendPair pairs[kMaxWorldSize];
  __shared__ PeerTable peers;
  __shared__ Outlook outlook;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const DevicePlan& plan = *args.plan;
  const int block_count = static_cast<int>(gridDim.x) - (kCounts ? 1 : 0);
  const Channel channel = {args.flags,      args.offsets, args.rank,
                           args.world_size, block_count,  static_cast<int>(blockIdx.x)};
  // Of how long the dones took; and takes back what was counted and did not arrive.
  const bool counts_wait = kCounts && channel.block == 0;
  // The first and the last of the arguments' lines.
  Fetch(args.plan);
  Fetch(args.window_index);
  WaitForEarlierKernels();
  if (kCounts && channel.block == block_count) {
    if (warp == 0) {
      CountAlone(channel, plan.group.channel_control, plan.group.rank_control,
                 {0, false, args.window_index, plan.row_bytes, plan.rows_sent, plan.rows_received});
    }
    return;
  }

  // Phase 1: the plan; may this epoch store.
  Waiter waiter(args.control, args.timeout_ns);
  CopyPairsToShared(plan.pairs, args.world_size, pairs);
  const std::int64_t row_bytes = plan.row_bytes;
  const std::int64_t block_bytes = plan.block_bytes;
  const bool plan_is_clean = plan.any_fault == 0;
  if (warp == 0) {
    const Outlook seen = LookAround(channel, args.window_index + 1, /*takes_ready=*/true);
    if (Lane() == 0) outlook = seen;
  } else if (warp == 1) {
    FillPeers(plan, args.world_size, &peers);
  }
  __syncthreads();
  if (!outlook.fine) {
    if (warp == 0) BeginSlowly(channel, waiter, &peers, outlook, args.timeout_ns);
    __syncthreads();
  }
  const std::uint64_t epoch = outlook.epoch.number;

  // Phase 2: push.
  CopyShare(args.input, pairs, args.world_size, row_bytes, block_bytes, peers.unwritable);
  __syncthreads();

  // Phase 3: done, and the peers' dones.
  if (warp != 0) return;
  UseEpoch(channel, epoch, args.window_index);
  SayDone(channel, peers, epoch, Operation::kPrepared);
  const std::uint64_t wait_start = counts_wait ? NowNs() : 0;
  const bool any_late = AwaitDone(channel, waiter, &peers, epoch, Operation::kPrepared, args.timeout_ns);
  if (block_bytes <= kMaxOverlapBytes) LetNextKernelStart();
  if (counts_wait && Lane() == 0) CountWait(channel.shared(), kDoneWait, epoch, NowNs() - wait_start);
  if (any_late || peers.unwritable != 0 || !plan_is_clean) {
    const Tally tally = {epoch, false, args.window_index, row_bytes, plan.rows_sent, plan.rows_received};
    FinishBadly(channel, &peers, tally, Operation::kPrepared, plan.group.channel_control, plan.group.rank_control,
                waiter, waiter.end_word(), counts_wait);
  }
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_PREPARED_DEVICE_CUH_
