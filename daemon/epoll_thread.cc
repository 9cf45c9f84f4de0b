#include "daemon/epoll_thread.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/failpoint.h"
#include "daemon/thread.h"
#include "kernels/base/check.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

// Events taken at once; more come with the next call.
constexpr int kBatchEvents = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<EpollThread>> EpollThread::Create() {
  UniqueFd epoll_fd(A8A_FAILPOINT("epoll_thread.create", ::epoll_create1(EPOLL_CLOEXEC)));
  if (!epoll_fd.valid()) return absl::ErrnoToStatus(errno, "cannot make an epoll set");
  UniqueFd stop_fd(A8A_FAILPOINT("epoll_thread.eventfd", ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  if (!stop_fd.valid()) return absl::ErrnoToStatus(errno, "cannot make an eventfd");
  std::unique_ptr<EpollThread> thread(new EpollThread(std::move(epoll_fd), std::move(stop_fd)));
  A8A_RETURN_IF_ERROR(thread->Add(thread->stop_fd_.get(), kStopTag));
  return thread;
}

EpollThread::EpollThread(UniqueFd epoll_fd, UniqueFd stop_fd)
    : epoll_fd_(std::move(epoll_fd)), stop_fd_(std::move(stop_fd)) {}

EpollThread::~EpollThread() { Stop(); }

absl::Status EpollThread::Start(const std::string& name, Handlers handlers) {
  handlers_ = std::move(handlers);
  A8A_ASSIGN_OR_RETURN(thread_, StartThread(name, [this] { Run(); }));
  return absl::OkStatus();
}

void EpollThread::Stop() {
  if (!thread_.joinable()) return;
  // Cannot fail: the counter holds 64 bits and is written here only.
  A8A_CHECK(::eventfd_write(stop_fd_.get(), 1) == 0, absl::StrCat("eventfd_write: errno ", errno));
  thread_.join();
}

absl::Status EpollThread::Add(int fd, std::uint64_t tag) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  if (A8A_FAILPOINT("epoll_thread.add", ::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd, &event)) == 0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot watch descriptor ", fd));
}

void EpollThread::Remove(int fd) {
  static_cast<void>(A8A_FAILPOINT("epoll_thread.remove", ::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, fd, nullptr)));
}

void EpollThread::Run() {
  const int tick_ms = static_cast<int>(absl::ToInt64Milliseconds(handlers_.tick));
  absl::Time next_tick = absl::Now() + handlers_.tick;
  std::array<epoll_event, kBatchEvents> events = {};
  while (true) {
    const int count =
        A8A_FAILPOINT("epoll_thread.wait", ::epoll_wait(epoll_fd_.get(), events.data(), kBatchEvents, tick_ms));
    const auto turn_began = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
      const std::uint64_t tag = events[static_cast<std::size_t>(i)].data.u64;
      if (tag == kStopTag) return;
      handlers_.on_readable(tag);
    }
    if (const absl::Time now = absl::Now(); now >= next_tick) {
      next_tick = now + handlers_.tick;
      handlers_.on_tick();
    }
    if (handlers_.on_turn) handlers_.on_turn(absl::FromChrono(std::chrono::steady_clock::now() - turn_began));
  }
}

}  // namespace a8a::daemon
