// Requests a second, by uid. A uid may make some at once; those above its rate wait for their turn, up to half a
// second, which is what slows a caller down that waits for answers; what would have to wait longer is refused.
//
// A token bucket, kept as the time from which on it is full again (the "generic cell rate algorithm" of ITU-T I.371).
// Thread-safe.
#ifndef A8A_DAEMON_REQUEST_QUOTA_H_
#define A8A_DAEMON_REQUEST_QUOTA_H_

#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class RequestQuota {
 public:
  // How long a request of `uid` that comes at `now` has to wait. RESOURCE_EXHAUSTED if that would be too long; the
  // request is then not counted.
  [[nodiscard]] absl::StatusOr<absl::Duration> Take(std::uint32_t uid, int rate_max, absl::Time now);

  // Uids that are remembered; one that has not called lately need not be.
  [[nodiscard]] int uid_count() const;

 private:
  mutable Mutex mutex_;
  std::map<std::uint32_t, absl::Time> full_from_ ABSL_GUARDED_BY(mutex_);  // by uid
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_REQUEST_QUOTA_H_
