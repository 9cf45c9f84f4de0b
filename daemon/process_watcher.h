// Tells when the process of a session has ended, however it ended. Thread-safe.
#ifndef A8A_DAEMON_PROCESS_WATCHER_H_
#define A8A_DAEMON_PROCESS_WATCHER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/epoll_thread.h"
#include "kernels/base/mutex.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

class ProcessWatcher {
 public:
  // `on_end` is called once for each session whose process ends, on the watcher's thread; it must not block. `on_turn`:
  // as EpollThread::Handlers::on_turn.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ProcessWatcher>> Start(
      std::function<void(std::uint64_t session_id)> on_end, std::function<void(absl::Duration)> on_turn = nullptr);

  // Watches a session's process through its own handle. on_end may be called before this returns.
  //
  // Errors: those of epoll_ctl; the session is then not watched.
  [[nodiscard]] absl::Status Watch(std::uint64_t session_id, UniqueFd pidfd);
  [[nodiscard]] bool Watches(std::uint64_t session_id) const;
  // Ends the thread; on_end is not called any more. May be repeated, by one thread.
  void Stop() { thread_->Stop(); }
  // Whether a session's process has begun to end, which on_end will tell later; see exiting_process.h. Reads some files
  // of /proc. False for unknown sessions.
  [[nodiscard]] bool IsExiting(std::uint64_t session_id);
  // The session has ended otherwise: gives the handle back. Unknown sessions are ignored.
  void Forget(std::uint64_t session_id);

 private:
  explicit ProcessWatcher(std::function<void(std::uint64_t session_id)> on_end);
  void Ended(std::uint64_t session_id);
  // Stops watching; false if it was not watched.
  bool Take(std::uint64_t session_id);

  const std::function<void(std::uint64_t session_id)> on_end_;
  mutable Mutex mutex_;
  std::map<std::uint64_t, UniqueFd> pidfds_ ABSL_GUARDED_BY(mutex_);  // by session
  // Last, so that the thread ends first.
  std::unique_ptr<EpollThread> thread_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_PROCESS_WATCHER_H_
