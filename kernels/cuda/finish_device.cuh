// The end of an all-to-all that moves rows: what runs beside the wait for the dones.
#ifndef A8A_KERNELS_CUDA_FINISH_DEVICE_CUH_
#define A8A_KERNELS_CUDA_FINISH_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/epoch_device.cuh"

namespace a8a::kernels::cuda {

// Setting up the next launch early saves the gap between two, but its blocks then take the places that are free while
// this one's still run, two on some multiprocessors and none on others, which costs more once there is much to copy.
// H100, 8 ranks x 16 blocks, kernel_bench: 10.6 against 11.0 us at 9 KiB a block, 12.6 against 12.3 at 36 KiB.
// Never before the dones of all peers: blocks set up earlier can take the last free multiprocessors, while a peer's
// blocks of this epoch, which this kernel waits for, still need one.
inline constexpr std::int64_t kMaxOverlapBytes = 24576;

// Between warp 0 and the last warp of block 0: the dones are on their way, counters may follow.
__device__ inline void LetCounterWarpGo() { asm volatile("bar.arrive 1, 64;" ::: "memory"); }
__device__ inline void WaitForDones() { asm volatile("bar.sync 1, 64;" ::: "memory"); }
static_assert(2 * kWarpSize == 64);

// Signals within block 0 that the counters have been written.
__device__ inline void WaitUntilCounted(const volatile int* counted) {
  while (*counted == 0) __nanosleep(100);
}

// Rows that were counted ahead and then were not sent or did not arrive.
__device__ inline Tally TallyLost(const Channel& channel, const PeerTable& peers, const Tally& counted) {
  Tally lost = counted;
  for (int rank = 0; rank < channel.world_size; ++rank) {
    const bool sent = peers.send[rank].ok() && (peers.unwritable >> rank & 1) == 0;
    const bool arrived = peers.receive[rank].ok() && peers.aborted.ok();
    if (sent) lost.rows_sent -= peers.send_rows[rank];
    if (arrived) lost.rows_received -= peers.receive_rows[rank];
  }
  return lost;
}

// By warp 0, where something was wrong: the report and, where this block `corrects` them, the counters, once
// wait_until_counted() has returned. Out of the way of the code that runs every time.
template <typename Wait>
__device__ __forceinline__ void FinishBadly(Channel channel, const PeerTable* peers, Tally tally, Operation operation,
                                            std::byte* channel_control, std::byte* rank_control,
                                            std::uint64_t abort_word, bool corrects, Wait wait_until_counted) {
  ReportPlainest(channel, *peers, tally.epoch, operation, channel_control, abort_word);
  if (!corrects) return;
  wait_until_counted();
  if (Lane() == 0) UncountRows(channel, channel_control, rank_control, TallyLost(channel, *peers, tally));
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_FINISH_DEVICE_CUH_
