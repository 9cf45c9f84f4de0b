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

// The counters, by one warp of a block that does nothing else: its stores to the host are over long before the kernel
// ends, which would wait for them, and no flag waits behind them. `tally` without the epoch, which comes from the
// counters themselves: blocks may be so far apart that another's state is already of the epoch after.
__device__ inline void CountAlone(const Channel& channel, std::byte* channel_control, std::byte* rank_control,
                                  Tally tally) {
  DeviceChannel* shared = channel.shared();
  tally.epoch = shared->counters[0] + 1;
  __syncwarp();
  StoreCounters(CountOperation(channel, channel_control, rank_control, tally));
  __syncwarp();
  if (Lane() != 0) return;
  __threadfence();
  StoreRelaxed(&shared->counted_epoch, tally.epoch);
}

// That block has counted. It waits for nothing itself, so it comes soon; the bound only says that a kernel never hangs,
// whatever was written into the word.
__device__ inline void WaitUntilCounted(const DeviceChannel* shared, std::uint64_t epoch) {
  constexpr int kMaxTries = 1 << 20;
  for (int tries = 0; tries < kMaxTries && LoadAcquire(&shared->counted_epoch) < epoch; ++tries) __nanosleep(100);
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

// By warp 0, where something was wrong: the report and, where this block `corrects` them, the counters. Out of the way
// of the code that runs every time.
__device__ __forceinline__ void FinishBadly(Channel channel, PeerTable* peers, Tally tally, Operation operation,
                                            std::byte* channel_control, std::byte* rank_control, const Waiter& waiter,
                                            std::uint64_t end_word, bool corrects) {
  BlameTheEnd(waiter, peers);
  ReportPlainest(channel, *peers, tally.epoch, operation, channel_control, end_word);
  if (!corrects) return;
  WaitUntilCounted(channel.shared(), tally.epoch);
  if (Lane() == 0) UncountRows(channel, channel_control, rank_control, TallyLost(channel, *peers, tally));
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_FINISH_DEVICE_CUH_
