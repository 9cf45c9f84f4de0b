// The way of a session's events to one sink. Events are put in under the core's lock and sent without it, by whichever
// thread comes first: they arrive in the order in which things happened, though many threads make them happen.
//
// Thread-safe. One for each Attach stream; holds its sink until it is dropped itself.
#ifndef A8A_DAEMON_CORE_OUTBOX_H_
#define A8A_DAEMON_CORE_OUTBOX_H_

#include <deque>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "daemon/core/core.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class Outbox {
 public:
  explicit Outbox(std::shared_ptr<EventSink> sink) : sink_(std::move(sink)) {}

  [[nodiscard]] const EventSink* sink() const { return sink_.get(); }

  void Put(SessionEvent event) {
    const MutexLock lock(&mutex_);
    events_.push_back(std::move(event));
  }

  // Sends what has been put in, unless another thread is at it: that one then sends this too. A sink may call back into
  // the core from Send; what it causes is sent after it has returned.
  void Flush() {
    mutex_.Lock();
    while (!sending_ && !events_.empty()) {
      sending_ = true;
      SessionEvent event = std::move(events_.front());
      events_.pop_front();
      mutex_.Unlock();
      sink_->Send(std::move(event));
      mutex_.Lock();
      sending_ = false;
    }
    mutex_.Unlock();
  }

 private:
  const std::shared_ptr<EventSink> sink_;
  Mutex mutex_;
  // Bounded by the calls in flight: every Put is followed by a Flush.
  std::deque<SessionEvent> events_ ABSL_GUARDED_BY(mutex_);
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_OUTBOX_H_
