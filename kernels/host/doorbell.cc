#include "kernels/host/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>

namespace a8a::kernels::host {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

using AtomicWord = std::atomic_ref<std::uint32_t>;

}  // namespace

void FullFence() {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer has no fences (GCC warns of each). A locked instruction orders as one on the machines it runs on.
  static thread_local std::atomic<std::uint32_t> word{0};
  word.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

std::uint32_t ArmDoorbell(Doorbell& doorbell) {
  AtomicWord(doorbell.sleeping).store(1, std::memory_order_relaxed);
  FullFence();
  // Acquire: whoever rang before this load had published its cell, which the caller's next look then finds.
  return AtomicWord(doorbell.sequence).load(std::memory_order_acquire);
}

void DisarmDoorbell(Doorbell& doorbell) {
  // Relaxed: a publisher that still sees 1 makes one system call too many.
  AtomicWord(doorbell.sleeping).store(0, std::memory_order_relaxed);
}

void SleepOnDoorbell(Doorbell& doorbell, std::uint32_t sequence, std::int64_t timeout_ns) {
  const timespec timeout = {.tv_sec = timeout_ns / kNsPerSecond, .tv_nsec = timeout_ns % kNsPerSecond};
  // Not FUTEX_PRIVATE: the ringer is another process. Any result is a reason to look at the cells.
  ::syscall(SYS_futex, &doorbell.sequence, FUTEX_WAIT, sequence, &timeout, nullptr, 0);
}

void RingDoorbell(Doorbell& doorbell) {
  // Relaxed look first: usually nobody sleeps, and the line then stays shared. The caller's fence orders it.
  if (AtomicWord(doorbell.sleeping).load(std::memory_order_relaxed) == 0) return;
  if (AtomicWord(doorbell.sleeping).exchange(0, std::memory_order_acq_rel) == 0) return;
  AtomicWord(doorbell.sequence).fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, &doorbell.sequence, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace a8a::kernels::host
