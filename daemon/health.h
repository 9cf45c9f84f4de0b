// The daemon's health: a probe of every device each health interval, reported through grpc.health.v1.
//
// A device is healthy while its last probe worked and none has been under way for longer than two intervals. Names that
// health knows: "" (everything), each service ("a8a.v1.GroupService") and each device ("device/host"). A device is
// SERVING while it is healthy and the daemon does not drain; services and "" are SERVING while all devices are.
//
// Thread-safe.
#ifndef A8A_DAEMON_HEALTH_H_
#define A8A_DAEMON_HEALTH_H_

#include <grpcpp/health_check_service_interface.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/core/core.h"
#include "daemon/executor.h"
#include "daemon/settings.h"
#include "daemon/timer_queue.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class Health {
 public:
  struct Deps {
    Core* core = nullptr;
    const Settings* settings = nullptr;
    TimerQueue* timers = nullptr;
    // Full names of the services.
    std::vector<std::string> services;
  };

  // Everything that `deps` names outlives this.
  explicit Health(Deps deps);
  Health(const Health&) = delete;
  Health& operator=(const Health&) = delete;

  // Probes every device once, reports the first state to `service`, which must live until Stop, and goes on probing.
  // Errors: RESOURCE_EXHAUSTED (no more threads).
  [[nodiscard]] absl::Status Start(grpc::HealthCheckServiceInterface* service);
  // Reports nothing and starts no probe from now on.
  void Stop();

  // Reports the state again, after the daemon began or stopped to drain.
  void Refresh();
  // Reports NOT_SERVING from now on: the daemon is about to stop.
  void BeginStop();

  [[nodiscard]] bool DeviceHealthy(absl::string_view device) const;

 private:
  struct DeviceHealth {
    absl::Status last = absl::UnknownError("not probed yet");
    absl::Time probe_began = absl::InfiniteFuture();  // InfiniteFuture while none is under way
    bool reported_healthy = true;
  };

  void ProbeAll();
  void Probe(const std::string& device);
  void ScheduleNext();
  [[nodiscard]] bool HealthyNow(const DeviceHealth& device) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Report() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Deps deps_;
  mutable Mutex mutex_;
  grpc::HealthCheckServiceInterface* service_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, DeviceHealth> devices_ ABSL_GUARDED_BY(mutex_);  // by device name
  // One for each device, so that a probe that hangs holds up no other. Constant after construction; last, so that their
  // threads end first.
  std::map<std::string, std::unique_ptr<Executor>> probers_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_HEALTH_H_
