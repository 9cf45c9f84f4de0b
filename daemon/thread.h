// Threads of the daemon: std::thread throws when the system grants no more of them, and nothing here throws.
#ifndef A8A_DAEMON_THREAD_H_
#define A8A_DAEMON_THREAD_H_

#include <functional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

namespace a8a::daemon {

// Runs `run` on a new thread, which is called `name`, cut to 15 bytes, in /proc.
//
// Errors: RESOURCE_EXHAUSTED (the system grants no more threads).
[[nodiscard]] absl::StatusOr<std::thread> StartThread(const std::string& name, std::function<void()> run);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_THREAD_H_
