// Waits for something that another thread or process does: polls a predicate that reads the observed value.
#ifndef A8A_TESTS_SUPPORT_EVENTUALLY_H_
#define A8A_TESTS_SUPPORT_EVENTUALLY_H_

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace a8a {

// Returns false if `predicate` does not hold within `patience`.
inline bool Eventually(const std::function<bool()>& predicate, absl::Duration patience = absl::Seconds(60)) {
  const absl::Time deadline = absl::Now() + patience;
  while (!predicate()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

}  // namespace a8a

#endif  // A8A_TESTS_SUPPORT_EVENTUALLY_H_
