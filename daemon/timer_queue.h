// One thread that runs functions when their time has come. They must not block: what may block goes to an Executor.
//
// Thread-safe, except for Stop.
#ifndef A8A_DAEMON_TIMER_QUEUE_H_
#define A8A_DAEMON_TIMER_QUEUE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class TimerQueue {
 public:
  // `on_run`, if set, is told how late each function runs.
  explicit TimerQueue(std::function<void(absl::Duration)> on_run = nullptr) : on_run_(std::move(on_run)) {}
  ~TimerQueue();  // as Stop
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  // Call once; functions wait until then. Errors: RESOURCE_EXHAUSTED (no more threads).
  [[nodiscard]] absl::Status Start();

  // Runs `function` once, `delay` from now.
  void After(absl::Duration delay, std::function<void()> function);

  // Ends the thread; functions that have not run by then are dropped. May be repeated, by one thread.
  void Stop();

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  void Run();

  const std::function<void(absl::Duration)> on_run_;
  Mutex mutex_;
  CondVar changed_;
  std::multimap<TimePoint, std::function<void()>> functions_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_TIMER_QUEUE_H_
