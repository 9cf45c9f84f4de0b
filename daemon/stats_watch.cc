#include "daemon/stats_watch.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "daemon/status_convert.h"

namespace a8a::daemon {

// Belongs to gRPC from Start to OnDone and keeps the stream alive meanwhile.
class StatsWatch::ReactorImpl final : public StatsWatch::Reactor {
 public:
  explicit ReactorImpl(std::shared_ptr<StatsWatch> watch) : watch_(std::move(watch)) {}

  void OnWriteDone(bool ok) override { watch_->OnWriteDone(ok); }
  void OnCancel() override { watch_->End(absl::CancelledError("the caller cancelled")); }
  void OnDone() override {
    watch_->OnDone();
    delete this;
  }

 private:
  const std::shared_ptr<StatsWatch> watch_;
};

StatsWatch::Reactor* StatsWatch::Start() {
  auto* reactor = new ReactorImpl(shared_from_this());
  {
    const MutexLock lock(&mutex_);
    reactor_ = reactor;
    next_ = absl::Now();
  }
  Snapshot();
  return reactor;
}

void StatsWatch::End(const absl::Status& status) {
  const MutexLock lock(&mutex_);
  if (!finish_.has_value()) finish_ = status;
  FinishIfIdle();
}

void StatsWatch::Snapshot() {
  const absl::Status status =
      options_.executor->Submit({.uid = uid()}, [self = shared_from_this()] { self->SendSnapshot(); });
  if (!status.ok()) End(status);
}

void StatsWatch::SendSnapshot() {
  v1::WatchStatsResponse response;
  options_.reader->Read(options_.caller, options_.group_id, response.mutable_stats());
  const MutexLock lock(&mutex_);
  if (reactor_ == nullptr || finish_.has_value()) return;
  response_ = std::move(response);
  writing_ = true;
  reactor_->StartWrite(&response_);
}

void StatsWatch::OnWriteDone(bool ok) {
  const absl::Time now = absl::Now();
  absl::Duration delay;
  {
    const MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok && !finish_.has_value()) finish_ = absl::CancelledError("the stream broke");
    FinishIfIdle();
    if (finish_.has_value()) return;
    next_ = std::max(next_ + options_.interval, now);
    delay = next_ - now;
  }
  // Not kept alive by the timer: a stream that is over must not take a slot until the interval has passed.
  options_.timers->After(delay, [weak = weak_from_this()] {
    if (const std::shared_ptr<StatsWatch> self = weak.lock()) self->Snapshot();
  });
}

void StatsWatch::OnDone() {
  const MutexLock lock(&mutex_);
  reactor_ = nullptr;
}

void StatsWatch::FinishIfIdle() {
  if (reactor_ == nullptr || finished_ || writing_ || !finish_.has_value()) return;
  finished_ = true;
  reactor_->Finish(ToGrpcStatus(*finish_));
}

}  // namespace a8a::daemon
