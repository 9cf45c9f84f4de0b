// Bounded waiting: polls, and every few hundred polls a look at the group's abort word, at who has left, and at the
// deadline.
#ifndef A8A_KERNELS_CUDA_WAIT_DEVICE_CUH_
#define A8A_KERNELS_CUDA_WAIT_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/memory_device.cuh"
#include "kernels/include/control_layout.h"
#include "kernels/include/flags_layout.h"

namespace a8a::kernels::cuda {

// One thread's waits of one operation. The deadline counts from the first look at the clock.
class Waiter {
 public:
  __device__ Waiter(const std::byte* control, std::int64_t timeout_ns)
      : control_(reinterpret_cast<const GroupControl*>(control)), timeout_ns_(timeout_ns) {}

  // After a look that found nothing: whether it is time for Check.
  __device__ bool IsCheckDue() { return ++polls_ % kPollsPerCheck == 0; }

  // `awaited`: the ranks that the caller waits for, as bits. kNone: look again; kAborted or kDeadline: give up. The
  // words are host memory: a look costs a trip over the bus.
  __device__ Fault Check(std::uint64_t awaited) {
    if (abort_word() != 0) return Fault::kAborted;
    if (HasLeftForGood(LoadAcquire(&control_->left_mask) & awaited)) return Fault::kAborted;
    const std::uint64_t now = NowNs();
    if (deadline_ns_ == 0) deadline_ns_ = now + static_cast<std::uint64_t>(timeout_ns_);
    return now >= deadline_ns_ ? Fault::kDeadline : Fault::kNone;
  }

  __device__ std::uint64_t abort_word() const { return LoadRelaxed(&control_->abort_word); }
  // Why Check said kAborted: the abort word, or one that says who has left.
  __device__ std::uint64_t end_word() const {
    const std::uint64_t word = abort_word();
    return word != 0 ? word : left_word_;
  }

 private:
  // A poll of local memory takes about half a microsecond: a look every 100 us or so.
  static constexpr std::uint32_t kPollsPerCheck = 256;

  // It may have said what is awaited just before it left: another round of polls decides.
  __device__ bool HasLeftForGood(std::uint64_t left) {
    if (left == 0) return false;
    left_word_ = MakeAbortWord(AbortReason::kRankLeft, __ffsll(static_cast<long long>(left)) - 1);
    const bool again = (left & seen_left_) != 0;
    seen_left_ |= left;
    return again;
  }

  const GroupControl* control_;
  std::int64_t timeout_ns_;
  std::uint64_t deadline_ns_ = 0;
  std::uint64_t left_word_ = 0;
  std::uint64_t seen_left_ = 0;
  std::uint32_t polls_ = 0;
};

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_WAIT_DEVICE_CUH_
