#include "daemon/executor.h"

#include <pthread.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace a8a::daemon {

Executor::Executor(Options options) : options_(std::move(options)) {
  for (int i = 0; i < options_.thread_count; ++i) {
    threads_.emplace_back([this] { Run(); });
    ::pthread_setname_np(threads_.back().native_handle(), options_.name.substr(0, 15).c_str());
  }
}

Executor::~Executor() {
  {
    const MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status Executor::Submit(std::function<void()> work) {
  {
    const MutexLock lock(&mutex_);
    if (queue_.size() >= options_.queue_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the daemon's queue of ", options_.name, " is full with ", options_.queue_max, "; try again"));
    }
    queue_.push_back(std::move(work));
  }
  changed_.NotifyAll();
  return absl::OkStatus();
}

void Executor::SubmitAlways(std::function<void()> work) {
  {
    const MutexLock lock(&mutex_);
    queue_.push_back(std::move(work));
  }
  changed_.NotifyAll();
}

void Executor::Run() {
  while (true) {
    std::function<void()> work;
    {
      const MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(&mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace a8a::daemon
