// Deadlines of blocking calls.
#ifndef A8A_CLIENT_SRC_DEADLINE_H_
#define A8A_CLIENT_SRC_DEADLINE_H_

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace a8a::client {

// Longest timeout that is taken at its word: no sum of it and a clock overflows, and nobody waits for the end of it.
inline constexpr absl::Duration kTimeoutMax = absl::Hours(24 * 365);

inline absl::Duration ClampTimeout(absl::Duration timeout) {
  return std::clamp(timeout, absl::ZeroDuration(), kTimeoutMax);
}

inline absl::Time DeadlineAfter(absl::Duration timeout) { return absl::Now() + ClampTimeout(timeout); }

// For poll(2): milliseconds until `deadline`, rounded up so that a wait does not spin at its end.
inline int PollTimeoutMs(absl::Time deadline) {
  const absl::Duration left = ClampTimeout(deadline - absl::Now());
  constexpr std::int64_t kLongestMs = 1'000'000;  // the caller loops; keeps the product inside int
  return static_cast<int>(std::min(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))), kLongestMs));
}

// For CondVar::WaitUntil.
inline std::chrono::steady_clock::time_point ToSteadyClock(absl::Time deadline) {
  return std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(ClampTimeout(deadline - absl::Now()));
}

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_DEADLINE_H_
