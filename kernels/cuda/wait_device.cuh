// Bounded waiting: polls, and every few hundred polls a look at the group's abort word and at the deadline.
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
      : abort_word_(&reinterpret_cast<const GroupControl*>(control)->abort_word), timeout_ns_(timeout_ns) {}

  // After a look that found nothing. kNone: look again; kAborted or kDeadline: give up.
  __device__ Fault Pause() { return ++polls_ % kPollsPerCheck == 0 ? Check() : Fault::kNone; }

  // The abort word is host memory: a look costs a trip over the bus.
  __device__ Fault Check() {
    if (abort_word() != 0) return Fault::kAborted;
    const std::uint64_t now = NowNs();
    if (deadline_ns_ == 0) deadline_ns_ = now + static_cast<std::uint64_t>(timeout_ns_);
    return now >= deadline_ns_ ? Fault::kDeadline : Fault::kNone;
  }

  __device__ std::uint64_t abort_word() const { return LoadRelaxed(abort_word_); }

 private:
  // A poll of local memory takes about half a microsecond: a look every 100 us or so.
  static constexpr std::uint32_t kPollsPerCheck = 256;

  const std::uint64_t* abort_word_;
  std::int64_t timeout_ns_;
  std::uint64_t deadline_ns_ = 0;
  std::uint32_t polls_ = 0;
};

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_WAIT_DEVICE_CUH_
