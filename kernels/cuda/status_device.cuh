// What kernels write into the control segment: the error record and the counters.
//
// Counters go through memory of the device (DeviceChannel): one warp of one block adds there while the others copy, and
// stores the sums to the control segment after the block has said done, so that no flag waits behind a store to the
// host. How long a rank waited is known too late for that; it reaches the control segment with the channel's next
// operation.
#ifndef A8A_KERNELS_CUDA_STATUS_DEVICE_CUH_
#define A8A_KERNELS_CUDA_STATUS_DEVICE_CUH_

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/channel_device.cuh"
#include "kernels/cuda/fault_class.h"
#include "kernels/cuda/memory_device.cuh"
#include "kernels/include/control_layout.h"

namespace a8a::kernels::cuda {

struct FaultReport {
  Operation operation = Operation::kNone;
  std::uint64_t epoch = 0;
  int peer = -1;
  bool as_sender = false;
  FaultInfo info = {};
  std::uint64_t abort_word = 0;
};

// Of two errors of one epoch the smaller is told.
__device__ inline std::uint32_t PlainnessOf(Fault fault, int peer, bool as_sender) {
  return CauseClass(fault) << 16 | static_cast<std::uint32_t>(peer + 1) << 1 | (as_sender ? 0 : 1);
}

__device__ inline void AddErrors(ChannelControl* control, Fault fault, std::uint64_t amount) {
  std::uint64_t* word = &control->errors[StatusCodeOf(fault)];
  StoreRelaxed(word, LoadRelaxed(word) + amount);
}

__device__ inline void StoreReport(ErrorRecord* record, const FaultReport& report) {
  StoreRelaxed(reinterpret_cast<std::uint32_t*>(&record->operation), static_cast<std::uint32_t>(report.operation));
  StoreRelaxed(reinterpret_cast<std::uint32_t*>(&record->fault), static_cast<std::uint32_t>(report.info.fault));
  StoreRelaxed(&record->epoch, report.epoch);
  StoreRelaxed(reinterpret_cast<std::uint64_t*>(&record->peer), static_cast<std::uint64_t>(std::int64_t{report.peer}));
  StoreRelaxed(&record->as_sender, report.as_sender ? 1 : 0);
  StoreRelaxed(reinterpret_cast<std::uint64_t*>(&record->expected), static_cast<std::uint64_t>(report.info.expected));
  StoreRelaxed(reinterpret_cast<std::uint64_t*>(&record->actual), static_cast<std::uint64_t>(report.info.actual));
  StoreRelaxed(&record->abort_word, report.abort_word);
}

// Requires the channel's error lock.
__device__ inline void RecordErrorLocked(DeviceChannel* shared, ChannelControl* control, const FaultReport& report) {
  ErrorRecord* record = &control->error;
  const std::uint32_t plainness = PlainnessOf(report.info.fault, report.peer, report.as_sender);
  const std::uint64_t count = LoadRelaxed(&record->error_count);
  const std::uint64_t acknowledged = LoadAcquire(&record->error_acknowledged);
  const bool first_of_epoch = shared->error_epoch != report.epoch;
  if (!first_of_epoch && plainness >= shared->error_class) return;
  const bool told_of_epoch = count != acknowledged && LoadRelaxed(&record->epoch) == report.epoch;
  if (told_of_epoch) AddErrors(control, static_cast<Fault>(record->fault), ~std::uint64_t{0});
  if (told_of_epoch || (first_of_epoch && count == acknowledged)) StoreReport(record, report);
  if (told_of_epoch || first_of_epoch) AddErrors(control, report.info.fault, 1);
  shared->error_epoch = report.epoch;
  shared->error_class = plainness;
  __threadfence_system();
  if (first_of_epoch) StoreRelaxed(&record->error_count, count + 1);
}

// One error of one block. Blocks take turns: an epoch counts as one error and tells its plainest.
__device__ __forceinline__ void RecordError(DeviceChannel* shared, ChannelControl* control, FaultReport report) {
  // A holder is a running thread of this grid that waits for nothing, so the turn comes soon; the bound only says that
  // a kernel never hangs, whatever was written into the lock.
  constexpr int kMaxTries = 1 << 20;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    if (atomicCAS(&shared->error_lock, 0u, 1u) != 0) continue;
    __threadfence();
    RecordErrorLocked(shared, control, report);
    __threadfence_system();
    atomicExch(&shared->error_lock, 0u);
    return;
  }
}

// What one operation counts.
struct Tally {
  std::uint64_t epoch;
  bool is_prepare;
  int window_index;
  std::int64_t row_bytes;
  std::int64_t rows_sent;
  std::int64_t rows_received;
};

// ChannelControl from `epoch` on, as DeviceChannel::counters.
static_assert(offsetof(ChannelControl, bytes_received) - offsetof(ChannelControl, epoch) ==
              (kChannelCounterCount - 1) * sizeof(std::uint64_t));

__device__ inline std::uint64_t ChannelIncrement(const Tally& tally, int counter) {
  switch (counter) {
    case 1:
      return tally.is_prepare ? 0 : 1;
    case 2:
      return tally.is_prepare ? 1 : 0;
    case 3:
      return static_cast<std::uint64_t>(tally.rows_sent);
    case 4:
      return static_cast<std::uint64_t>(tally.rows_sent * tally.row_bytes);
    case 5:
      return static_cast<std::uint64_t>(tally.rows_received);
    default:
      return static_cast<std::uint64_t>(tally.rows_received * tally.row_bytes);
  }
}

__device__ inline std::uint64_t WindowIncrement(const Tally& tally, int counter) {
  if (counter == 0) return 1;
  const std::int64_t rows = tally.rows_received;
  return static_cast<std::uint64_t>(counter == 1 ? rows : rows * tally.row_bytes);
}

enum WaitKind : int { kCreditWait, kDoneWait };

// What one lane is to store in the control segment; null: nothing.
struct CounterStore {
  std::uint64_t* at;
  std::uint64_t value;
};

// Adds an operation to the device's sums. By one warp of one block, once per operation, ahead of its end: UncountRows
// takes back what then does not arrive. Lanes 0..6: the channel's counters; 8..10: the window's, which all channels of
// the rank share; 16..19: the last operation's waits.
__device__ inline CounterStore CountOperation(const Channel& channel, std::byte* channel_control,
                                              std::byte* rank_control, const Tally& tally) {
  constexpr int kWindowLane = 8;
  constexpr int kWaitLane = 16;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  DeviceChannel* shared = channel.shared();
  auto* control = reinterpret_cast<ChannelControl*>(channel_control);
  if (lane < kChannelCounterCount) {
    const std::uint64_t sum = lane == 0 ? tally.epoch : shared->counters[lane] + ChannelIncrement(tally, lane);
    shared->counters[lane] = sum;
    return {&control->epoch + lane, sum};
  }
  if (lane >= kWindowLane && lane < kWindowLane + 3 && !tally.is_prepare) {
    const int counter = lane - kWindowLane;
    const std::uint64_t add = WindowIncrement(tally, counter);
    auto* sum = reinterpret_cast<unsigned long long*>(&channel.device_rank()->windows[tally.window_index][counter]);
    auto* rank = reinterpret_cast<RankControl*>(rank_control);
    return {&rank->windows[tally.window_index].all_to_alls + counter, atomicAdd(sum, add) + add};
  }
  if (lane >= kWaitLane && lane < kWaitLane + 4) {
    const int kind = (lane - kWaitLane) / 2;
    const int bucket = shared->wait_dirty[(tally.epoch + 1) % 2][kind] - 1;
    if (bucket < 0) return {nullptr, 0};
    WaitCounters* waits = kind == kCreditWait ? &control->credit_wait : &control->done_wait;
    if (lane % 2 == 0) return {&waits->sum_ns, shared->wait_sums[kind]};
    shared->wait_dirty[(tally.epoch + 1) % 2][kind] = 0;
    return {&waits->counts[bucket], shared->wait_counts[kind][bucket]};
  }
  return {nullptr, 0};
}

// Plain stores, so that neighbouring lanes' words cross the bus together; each word is written whole all the same.
__device__ inline void StoreCounters(const CounterStore& store) {
  if (store.at != nullptr) *store.at = store.value;
}

// By one thread of one block. Additions without an answer, so that nobody waits for them.
__device__ inline void CountWait(DeviceChannel* shared, WaitKind kind, std::uint64_t epoch, std::uint64_t waited_ns) {
  int bucket = waited_ns == 0 ? 0 : 63 - __clzll(static_cast<long long>(waited_ns));
  if (bucket >= kWaitBucketCount) bucket = kWaitBucketCount - 1;
  atomicAdd(reinterpret_cast<unsigned long long*>(&shared->wait_sums[kind]), waited_ns);
  atomicAdd(reinterpret_cast<unsigned long long*>(&shared->wait_counts[kind][bucket]), 1ull);
  shared->wait_dirty[epoch % 2][kind] = bucket + 1;
}

// Takes back what CountOperation counted for pairs that then failed.
__device__ __forceinline__ void UncountRows(Channel channel, std::byte* channel_control, std::byte* rank_control,
                                            Tally failed) {
  DeviceChannel* shared = channel.shared();
  auto* control = reinterpret_cast<ChannelControl*>(channel_control);
  for (int counter = 3; counter < kChannelCounterCount; ++counter) {
    shared->counters[counter] -= ChannelIncrement(failed, counter);
    StoreRelaxed(&control->epoch + counter, shared->counters[counter]);
  }
  auto* sums = channel.device_rank();
  auto* rank = reinterpret_cast<RankControl*>(rank_control);
  for (int counter = 1; counter < 3; ++counter) {
    auto* sum = reinterpret_cast<unsigned long long*>(&sums->windows[failed.window_index][counter]);
    const std::uint64_t less = WindowIncrement(failed, counter);
    StoreRelaxed(&rank->windows[failed.window_index].all_to_alls + counter, atomicAdd(sum, ~less + 1) - less);
  }
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_STATUS_DEVICE_CUH_
