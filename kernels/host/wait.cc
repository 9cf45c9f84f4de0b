#include "kernels/host/wait.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "kernels/host/doorbell.h"

namespace a8a::kernels::host {
namespace {

// Spinning is worth it while a peer on another core can answer within it: 1,000 polls are 20 to 50 us, as long as a
// hand-over by futex across cores (up to 28 us measured). Where nobody else wants the core, the yields that follow go
// on polling, at little more than a microsecond each.
constexpr int kSpinPolls = 1000;
// A core that is shared must be handed on at once: yielding first measured 2 to 6 times faster than 200 spins first.
constexpr int kSpinPollsShared = 0;
// A yield costs 1.5 us and a sleep up to 28: after some ten sleeps' worth of yields the peer is not close.
constexpr int kYieldPolls = 200;
// Abort word and clock are looked at this often while spinning; each costs about as much as a poll.
constexpr int kSpinPollsPerCheck = 256;
// Longest single sleep: bounds what a lost wake-up (a peer killed before it rang) can cost.
constexpr std::int64_t kMaxSleepNs = 100'000'000;
constexpr std::int64_t kNsPerSecond = 1'000'000'000;

std::int64_t NowNs() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

std::int64_t AddSaturated(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::int64_t>::max() : sum;
}

// CPUs that the calling thread may use; asked once per thread, since it only chooses between ways of waiting.
int CpuCount() {
  static thread_local const int count = [] {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    // Fails on machines with more CPUs than the set holds: plenty, then.
    return ::sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : CPU_SETSIZE;
  }();
  return count;
}

void RelaxCpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace

Waiter::Policy Waiter::PolicyFor(int world_size) {
  const bool shared = world_size > CpuCount();
  return {.spin_polls = shared ? kSpinPollsShared : kSpinPolls, .yield_polls = kYieldPolls};
}

Waiter::Waiter(const Channel& channel, std::int64_t timeout_ns)
    : channel_(channel), doorbell_(channel.DoorbellOf(channel.rank())), timeout_ns_(timeout_ns) {}

Waiter::~Waiter() {
  if (armed_) DisarmDoorbell(doorbell_);
}

void Waiter::StartClock() {
  waiting_since_ns_ = NowNs();
  if (deadline_ns_.has_value()) return;
  deadline_ns_ = AddSaturated(*waiting_since_ns_, timeout_ns_);
  policy_ = PolicyFor(channel_.world_size());
}

Fault Waiter::Pause() {
  if (!waiting_since_ns_.has_value()) StartClock();
  const int poll = polls_++;
  if (poll < policy_.spin_polls) {
    RelaxCpu();
    return poll % kSpinPollsPerCheck == kSpinPollsPerCheck - 1 ? Check() : Fault::kNone;
  }
  if (poll < policy_.spin_polls + policy_.yield_polls) {
    ::sched_yield();
  } else {
    ArmOrSleep();
    --polls_;  // stays in this branch, however long it takes
  }
  return Check();
}

void Waiter::ArmOrSleep() {
  if (armed_) {
    const std::int64_t left_ns = *deadline_ns_ - NowNs();
    SleepOnDoorbell(doorbell_, sequence_, std::clamp<std::int64_t>(left_ns, 0, kMaxSleepNs));
  }
  // Armed anew each time, since who rings disarms; the caller looks at its cells before the next sleep.
  sequence_ = ArmDoorbell(doorbell_);
  armed_ = true;
}

Fault Waiter::Check() const {
  if (abort_word() != 0) return Fault::kAborted;
  return NowNs() >= *deadline_ns_ ? Fault::kDeadline : Fault::kNone;
}

void Waiter::Progress() {
  polls_ = 0;
  if (armed_) DisarmDoorbell(doorbell_);
  armed_ = false;
}

void Waiter::Extend(std::int64_t grace_ns) { deadline_ns_ = AddSaturated(NowNs(), grace_ns); }

std::int64_t Waiter::TakeWaitedNs() {
  if (!waiting_since_ns_.has_value()) return 0;
  const std::int64_t waited_ns = NowNs() - *waiting_since_ns_;
  waiting_since_ns_.reset();
  Progress();
  return waited_ns;
}

std::uint64_t Waiter::abort_word() const {
  return std::atomic_ref<std::uint64_t>(channel_.abort_word()).load(std::memory_order_acquire);
}

}  // namespace a8a::kernels::host
