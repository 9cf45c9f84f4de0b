// An epoll set and the one thread that serves it; the daemon's own sockets and process handles hang on three of them.
//
// Descriptors may be added and removed from any thread. The handlers run on the thread, one at a time.
#ifndef A8A_DAEMON_EPOLL_THREAD_H_
#define A8A_DAEMON_EPOLL_THREAD_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

class EpollThread {
 public:
  struct Handlers {
    // A descriptor is readable or has hung up; `tag` is what Add was given. Level-triggered.
    std::function<void(std::uint64_t tag)> on_readable;
    // Called about once every `tick`, for timeouts.
    std::function<void()> on_tick;
    absl::Duration tick;
    // If set, is told how long the handlers took for what had come at once.
    std::function<void(absl::Duration)> on_turn = nullptr;
  };

  [[nodiscard]] static absl::StatusOr<std::unique_ptr<EpollThread>> Create();
  ~EpollThread();
  EpollThread(const EpollThread&) = delete;
  EpollThread& operator=(const EpollThread&) = delete;

  // `name` is for /proc. Call once. Errors: RESOURCE_EXHAUSTED (no more threads).
  [[nodiscard]] absl::Status Start(const std::string& name, Handlers handlers);
  // Ends the thread; no handler runs afterwards. May be called again. Not from a handler.
  void Stop();

  // `tag` is any number but kStopTag.
  [[nodiscard]] absl::Status Add(int fd, std::uint64_t tag);
  void Remove(int fd);

 private:
  static constexpr std::uint64_t kStopTag = ~std::uint64_t{0};

  EpollThread(UniqueFd epoll_fd, UniqueFd stop_fd);
  void Run();

  const UniqueFd epoll_fd_;
  const UniqueFd stop_fd_;
  Handlers handlers_;  // constant while the thread runs
  std::thread thread_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_EPOLL_THREAD_H_
