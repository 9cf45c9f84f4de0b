// Tells the service manager that the daemon serves, each time that a probe of it has worked; a daemon that no longer
// does is killed and started again, and takes up what it held.
#ifndef A8A_DAEMON_WATCHDOG_H_
#define A8A_DAEMON_WATCHDOG_H_

#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class Watchdog {
 public:
  // Returns within `timeout`, or little later.
  using Probe = std::function<absl::Status(absl::Duration timeout)>;

  // Runs `probe`, on a thread of its own, four times in each `period`, after which the manager takes the daemon for
  // dead. Errors: RESOURCE_EXHAUSTED (no more threads).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Watchdog>> Start(absl::Duration period, Probe probe);

  // Waits for a probe that is under way.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  Watchdog(absl::Duration interval, Probe probe);
  void Run();
  void Feed();
  // Returns false when the watchdog is to end.
  [[nodiscard]] bool Pause();

  const absl::Duration interval_;
  const Probe probe_;
  absl::Status last_;  // of the probes; used by the thread only
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_WATCHDOG_H_
