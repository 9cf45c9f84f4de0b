#include "daemon/executor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/thread.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {

Executor::Executor(Options options) : options_(std::move(options)) {}

absl::Status Executor::Start() {
  for (int i = 0; i < options_.thread_count; ++i) {
    A8A_ASSIGN_OR_RETURN(std::thread thread, StartThread(options_.name, [this] { Run(); }));
    threads_.push_back(std::move(thread));
  }
  return absl::OkStatus();
}

Executor::~Executor() {
  {
    const MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

Executor::Line& Executor::LineOf(std::uint32_t uid) {
  const auto found = std::find_if(lines_.begin(), lines_.end(), [uid](const Line& line) { return line.uid == uid; });
  return found != lines_.end() ? *found : lines_.emplace_back(Line{.uid = uid});
}

absl::Status Executor::Submit(const Turn& turn, std::function<void()> work) {
  {
    const MutexLock lock(&mutex_);
    Line& line = LineOf(turn.uid);
    if (line.queue.size() >= options_.queue_max) {
      return absl::ResourceExhaustedError(absl::StrCat("the daemon's queue of ", options_.name, " for uid ", turn.uid,
                                                       " is full with ", options_.queue_max, "; try again"));
    }
    line.queue.push_back({turn.not_before, std::chrono::steady_clock::now(), std::move(work)});
  }
  changed_.NotifyAll();
  return absl::OkStatus();
}

void Executor::SubmitAlways(const Turn& turn, std::function<void()> work) {
  {
    const MutexLock lock(&mutex_);
    LineOf(turn.uid).queue.push_back({turn.not_before, std::chrono::steady_clock::now(), std::move(work)});
  }
  changed_.NotifyAll();
}

Executor::Lines::iterator Executor::NextLine(Time* next) {
  const Time now = std::chrono::steady_clock::now();
  const int others_threads = options_.thread_count > 1 ? 1 : 0;
  *next = Time::max();
  for (auto line = lines_.begin(); line != lines_.end(); ++line) {
    const int running_max = line->uid == kDaemon ? options_.thread_count : options_.thread_count - others_threads;
    if (line->queue.empty() || line->running >= running_max) continue;
    if (stopping_ || line->queue.front().not_before <= now) return line;
    *next = std::min(*next, line->queue.front().not_before);
  }
  return lines_.end();
}

void Executor::Run() {
  const MutexLock lock(&mutex_);
  while (true) {
    Time next;
    const Lines::iterator line = NextLine(&next);
    if (line == lines_.end()) {
      // A line that still waits has work running, and that thread goes on with it.
      if (stopping_) return;
      if (next == Time::max()) {
        changed_.Wait(&mutex_);
      } else {
        changed_.WaitUntil(&mutex_, next);
      }
      continue;
    }
    const Time ready = std::max(line->queue.front().not_before, line->queue.front().submitted);
    std::function<void()> work = std::move(line->queue.front().work);
    line->queue.pop_front();
    ++line->running;
    lines_.splice(lines_.end(), lines_, line);  // the others come first now; `line` stays valid
    mutex_.Unlock();
    // What is left when the executor ends may run before its turn.
    if (options_.on_start) {
      options_.on_start(absl::FromChrono(std::max(std::chrono::steady_clock::now() - ready, Time::duration::zero())));
    }
    work();
    work = nullptr;
    mutex_.Lock();
    --line->running;
    if (line->queue.empty() && line->running == 0) lines_.erase(line);
  }
}

}  // namespace a8a::daemon
