// Closes descriptors of which nothing is known but that they are not what was asked for. close() asks the file's own
// file system first (FUSE's flush), which may be served by whoever sent the descriptor, and never answer: it must not
// hold up a thread of the daemon.
//
// Thread-safe. May be destroyed while descriptors are still being closed.
#ifndef A8A_DAEMON_FOREIGN_FD_H_
#define A8A_DAEMON_FOREIGN_FD_H_

#include <atomic>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

class ForeignFdCloser {
 public:
  // Whether another one may be taken: not while many hang.
  [[nodiscard]] bool CanTake() const { return *hanging_ < kHangingMax; }

  void Close(UniqueFd fd) {
    ++*hanging_;
    auto close = [hanging = hanging_, raw = fd.Release()] {
      UniqueFd(raw).Reset();
      --*hanging;
    };
    try {
      std::thread(close).detach();
    } catch (const std::system_error&) {
      close();  // there is no other way
    }
  }

 private:
  // Each is a thread. A client that means well sends none.
  static constexpr int kHangingMax = 16;

  const std::shared_ptr<std::atomic<int>> hanging_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_FOREIGN_FD_H_
