// What the daemon says to the service manager that started it, and what that keeps and makes for it: systemd's notify
// protocol, watchdog, descriptor store and socket activation [sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3),
// FileDescriptorStoreMax= in systemd.service(5)], through libsystemd. Without a manager (NOTIFY_SOCKET is not set)
// nothing is said. Thread-safe but for TakeDescriptors.
#ifndef A8A_DAEMON_SERVICE_MANAGER_H_
#define A8A_DAEMON_SERVICE_MANAGER_H_

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

struct PassedSocket {
  std::string name;  // as the manager calls it; of a socket unit without FileDescriptorName=, the unit's
  UniqueFd fd;
};

// What the manager has passed to this process.
struct PassedDescriptors {
  std::vector<PassedSocket> sockets;
  // What an earlier daemon has stored, by name; of several with one name, the first. Never a socket.
  std::map<std::string, UniqueFd> kept;
};

class ServiceManager {
 public:
  // Whether there is one.
  [[nodiscard]] static bool present();

  // Call once, before other threads are made: it changes the environment.
  [[nodiscard]] static PassedDescriptors TakeDescriptors();

  // Stores a duplicate of `fd`, until it is dropped or the service is stopped. A manager whose store is full, or that
  // has none, ignores it.
  static void Keep(const std::string& name, int fd);
  static void Drop(const std::string& name);

  // Lines: "READY=1", "STOPPING=1", "STATUS=...", ...
  static void Notify(const std::string& state);
  // Says that settings are read again; READY=1 says that it is done.
  static void NotifyReloading();
  // `text` on one line, for whoever asks the manager how the service is.
  [[nodiscard]] static std::string StatusLine(const std::string& text);

  // How long the manager waits for WATCHDOG=1 before it takes this process for dead; zero if it does not look.
  [[nodiscard]] static absl::Duration WatchdogPeriod();
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SERVICE_MANAGER_H_
