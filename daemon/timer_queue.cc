#include "daemon/timer_queue.h"

#include "daemon/thread.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {

absl::Status TimerQueue::Start() {
  A8A_ASSIGN_OR_RETURN(thread_, StartThread("a8a-timers", [this] { Run(); }));
  return absl::OkStatus();
}

TimerQueue::~TimerQueue() { Stop(); }

void TimerQueue::Stop() {
  {
    const MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void TimerQueue::After(absl::Duration delay, std::function<void()> function) {
  {
    const MutexLock lock(&mutex_);
    functions_.emplace(std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(delay), std::move(function));
  }
  changed_.NotifyAll();
}

void TimerQueue::Run() {
  mutex_.Lock();
  while (!stopping_) {
    if (functions_.empty()) {
      changed_.Wait(&mutex_);
    } else if (const TimePoint next = functions_.begin()->first; next > std::chrono::steady_clock::now()) {
      changed_.WaitUntil(&mutex_, next);
    } else {
      const std::function<void()> function = std::move(functions_.extract(functions_.begin()).mapped());
      mutex_.Unlock();
      if (on_run_) on_run_(absl::FromChrono(std::chrono::steady_clock::now() - next));
      function();
      mutex_.Lock();
    }
  }
  mutex_.Unlock();
}

}  // namespace a8a::daemon
