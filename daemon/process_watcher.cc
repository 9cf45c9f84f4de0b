#include "daemon/process_watcher.h"

#include <fcntl.h>

#include <utility>

#include "daemon/exiting_process.h"
#include "daemon/failpoint.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

// Nothing times out here; the thread only has to have some interval.
constexpr absl::Duration kTick = absl::Seconds(60);

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessWatcher>> ProcessWatcher::Start(
    std::function<void(std::uint64_t session_id)> on_end, std::function<void(absl::Duration)> on_turn) {
  std::unique_ptr<ProcessWatcher> watcher(new ProcessWatcher(std::move(on_end)));
  A8A_ASSIGN_OR_RETURN(watcher->thread_, EpollThread::Create());
  A8A_RETURN_IF_ERROR(watcher->thread_->Start(
      "a8a-lives", {.on_readable = [self = watcher.get()](std::uint64_t session_id) { self->Ended(session_id); },
                    .on_tick = [] {},
                    .tick = kTick,
                    .on_turn = std::move(on_turn)}));
  return watcher;
}

ProcessWatcher::ProcessWatcher(std::function<void(std::uint64_t session_id)> on_end) : on_end_(std::move(on_end)) {}

absl::Status ProcessWatcher::Watch(std::uint64_t session_id, UniqueFd pidfd) {
  const MutexLock lock(&mutex_);
  const int fd = pidfd.get();
  pidfds_[session_id] = std::move(pidfd);
  absl::Status status = thread_->Add(fd, session_id);
  if (!status.ok()) pidfds_.erase(session_id);
  return status;
}

bool ProcessWatcher::Watches(std::uint64_t session_id) const {
  const MutexLock lock(&mutex_);
  return pidfds_.contains(session_id);
}

bool ProcessWatcher::IsExiting(std::uint64_t session_id) {
  UniqueFd pidfd;
  {
    const MutexLock lock(&mutex_);
    const auto entry = pidfds_.find(session_id);
    if (entry != pidfds_.end()) {
      pidfd = UniqueFd(A8A_FAILPOINT("process_watcher.dup", ::fcntl(entry->second.get(), F_DUPFD_CLOEXEC, 0)));
    }
  }
  return pidfd.valid() && daemon::IsExiting(pidfd.get());
}

void ProcessWatcher::Forget(std::uint64_t session_id) { Take(session_id); }

void ProcessWatcher::Ended(std::uint64_t session_id) {
  if (Take(session_id)) on_end_(session_id);
}

bool ProcessWatcher::Take(std::uint64_t session_id) {
  const MutexLock lock(&mutex_);
  const auto entry = pidfds_.find(session_id);
  if (entry == pidfds_.end()) return false;
  thread_->Remove(entry->second.get());
  pidfds_.erase(entry);
  return true;
}

}  // namespace a8a::daemon
