// a8a.v1.StatService. Thread-safe.
#ifndef A8A_DAEMON_STAT_SERVICE_H_
#define A8A_DAEMON_STAT_SERVICE_H_

#include <memory>
#include <vector>

#include "a8a/v1/stat_service.grpc.pb.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "daemon/service_deps.h"
#include "daemon/stats_reader.h"
#include "daemon/stats_watch.h"
#include "daemon/timer_queue.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class StatService final : public v1::StatService::CallbackService {
 public:
  // `reader` and `timers` outlive the service.
  StatService(const ServiceDeps& deps, const StatsReader* reader, TimerQueue* timers)
      : deps_(deps), reader_(reader), timers_(timers) {}

  grpc::ServerUnaryReactor* GetStats(grpc::CallbackServerContext* context, const v1::GetStatsRequest* request,
                                     v1::GetStatsResponse* response) override;
  StatsWatch::Reactor* WatchStats(grpc::CallbackServerContext* context, const v1::WatchStatsRequest* request) override;

  // Ends all WatchStats streams with UNAVAILABLE, and those that come from now on.
  void Stop();

 private:
  [[nodiscard]] absl::StatusOr<std::shared_ptr<StatsWatch>> Open(const grpc::CallbackServerContext& context,
                                                                 const v1::WatchStatsRequest& request);

  const ServiceDeps deps_;
  const StatsReader* const reader_;
  TimerQueue* const timers_;
  Mutex mutex_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::weak_ptr<StatsWatch>> watches_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_STAT_SERVICE_H_
