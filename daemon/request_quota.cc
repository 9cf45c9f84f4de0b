#include "daemon/request_quota.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace a8a::daemon {
namespace {

// Requests of this long are free at once: a client's start is some ten calls, and 200 calls take the daemon 10 ms.
constexpr absl::Duration kBurst = absl::Milliseconds(100);
// The rest of a burst may wait so long: with both, a rate of 2000 takes 1200 calls at once, the start of 64 ranks.
constexpr absl::Duration kWaitMax = absl::Milliseconds(500);
// Turns come in steps, so that threads wake for several calls at once.
constexpr absl::Duration kStep = absl::Milliseconds(5);
// Uids between two looks for those that can be forgotten; a node has a handful.
constexpr std::size_t kUidsMax = 1024;

}  // namespace

absl::StatusOr<absl::Duration> RequestQuota::Take(std::uint32_t uid, int rate_max, absl::Time now) {
  const MutexLock lock(&mutex_);
  if (full_from_.size() >= kUidsMax) {
    std::erase_if(full_from_, [now](const auto& entry) { return entry.second <= now; });
  }
  absl::Time& full_from = full_from_.try_emplace(uid, now).first->second;
  const absl::Duration wait = std::max(full_from, now) - now - kBurst;
  // A clock that was set back must not keep a uid out.
  if (wait > kWaitMax && wait <= 2 * kWaitMax) {
    return absl::ResourceExhaustedError(absl::StrCat("uid ", uid, " makes more than ", rate_max,
                                                     " requests a second, its limit (request_rate_max_per_uid), and ",
                                                     absl::ToInt64Milliseconds(wait), " ms of them wait"));
  }
  full_from = (wait > kWaitMax ? now : std::max(full_from, now)) + absl::Seconds(1) / rate_max;
  return wait <= absl::ZeroDuration() ? absl::ZeroDuration() : absl::Ceil(wait, kStep);
}

int RequestQuota::uid_count() const {
  const MutexLock lock(&mutex_);
  return static_cast<int>(full_from_.size());
}

}  // namespace a8a::daemon
