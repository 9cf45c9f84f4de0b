// What the daemon says to the service manager that started it, and what that keeps for it: systemd's notify protocol
// and descriptor store [sd_notify(3), sd_listen_fds(3), FileDescriptorStoreMax= in systemd.service(5)], through
// libsystemd. Without a manager (NOTIFY_SOCKET is not set) nothing happens. Thread-safe but for TakeDescriptors.
#ifndef A8A_DAEMON_SERVICE_MANAGER_H_
#define A8A_DAEMON_SERVICE_MANAGER_H_

#include <map>
#include <string>

#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

class ServiceManager {
 public:
  // Whether there is one.
  [[nodiscard]] static bool present();

  // The descriptors that the manager has passed to this process, by name; of several with one name, the first. Call
  // once, before other threads are made: it changes the environment.
  [[nodiscard]] static std::map<std::string, UniqueFd> TakeDescriptors();

  // Stores a duplicate of `fd`, until it is dropped or the service is stopped. A manager whose store is full, or that
  // has none, ignores it.
  static void Keep(const std::string& name, int fd);
  static void Drop(const std::string& name);

  // "READY=1", "STOPPING=1", ...
  static void Notify(const std::string& state);
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SERVICE_MANAGER_H_
