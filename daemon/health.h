// The daemon's health: its devices and its own parts are checked again and again, and what came of it is reported
// through grpc.health.v1.
//
// A part is healthy while its last check worked and none is under way for longer than half a health interval; checks
// begin four times in an interval, so that a fault shows within one. Names that health knows:
//
//   device/NAME    a round trip through the device's memory works, and its pool has room for a lease
//   part/NAME      see Server: descriptors, fd.sock, loops, state
//   SERVICE        "a8a.v1.GroupService": the parts that it needs are healthy
//   ""             all parts are healthy
//
// Each is SERVING while that is so and the daemon does not drain. Thread-safe.
#ifndef A8A_DAEMON_HEALTH_H_
#define A8A_DAEMON_HEALTH_H_

#include <grpcpp/health_check_service_interface.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/core/core.h"
#include "daemon/executor.h"
#include "daemon/settings.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class Health {
 public:
  // A part of the daemon. The check says what is wrong, in words for an operator; it has a thread of its own, and ends
  // within `timeout` or little later.
  struct Part {
    std::string name;  // "part/loops"
    std::function<absl::Status(absl::Duration timeout)> check;
  };
  // A service, and which parts it needs: "part/loops", "device/" for all devices.
  struct Service {
    std::string full_name;
    std::vector<std::string> needs;
  };
  struct Deps {
    Core* core = nullptr;
    const Settings* settings = nullptr;
    std::vector<Service> services;
    std::vector<Part> parts;
  };

  // Everything that `deps` names outlives this.
  explicit Health(Deps deps);
  ~Health();
  Health(const Health&) = delete;
  Health& operator=(const Health&) = delete;

  // Probes every device once and reports the first state to `service`, which must live until Stop; the daemon's parts
  // count as healthy until they are checked. Errors: RESOURCE_EXHAUSTED (no more threads).
  [[nodiscard]] absl::Status Start(grpc::HealthCheckServiceInterface* service);
  // Checks everything from now on, for the first time after a quarter of an interval. Errors: as above.
  [[nodiscard]] absl::Status BeginChecks();
  // Begins no check from now on, and waits for those of the daemon's parts. May be repeated.
  void EndChecks();
  // Reports nothing from now on.
  void Stop();

  // Reports the state again, after the daemon began or stopped to drain.
  void Refresh();
  // Reports NOT_SERVING from now on: the daemon is about to stop.
  void BeginStop();

  [[nodiscard]] bool DeviceHealthy(absl::string_view device) const;
  // What was reported last, by name; "" is "all" here, for labels.
  [[nodiscard]] std::map<std::string, bool> Serving() const;

 private:
  struct PartHealth {
    std::function<absl::Status(absl::Duration timeout)> check;
    // So that a check that hangs holds up no other.
    std::unique_ptr<Executor> checker;
    absl::Status last;
    absl::Time began = absl::InfiniteFuture();  // InfiniteFuture while none is under way
    bool reported_healthy = true;
  };

  void AddPart(Part part) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::Status CheckDevice(const std::string& device) const;
  void Run();
  void CheckAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Check(const std::string& name);
  [[nodiscard]] absl::Duration Timeout() const;
  [[nodiscard]] bool HealthyNow(const PartHealth& part) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] bool HasAll(const std::vector<std::string>& needs) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Set(const std::string& name, bool serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LogChange(const std::string& name, PartHealth* part) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Report() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Deps deps_;
  Mutex refresh_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable Mutex mutex_;
  CondVar changed_;
  grpc::HealthCheckServiceInterface* service_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // As the core said last: one whose lock is held for long must not keep this from reporting.
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_);
  // By name. The map and the checkers are constant after construction; last, so that their threads end first.
  std::map<std::string, PartHealth> parts_;
  std::thread thread_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_HEALTH_H_
