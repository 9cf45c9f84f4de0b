#include "daemon/stat_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/requests.h"
#include "daemon/status_convert.h"
#include "daemon/unary_call.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

// Streams at once: dashboards and operators. At the shortest interval each costs a snapshot every 10 ms.
constexpr std::size_t kWatchMax = 64;

class RefusingReactor final : public StatsWatch::Reactor {
 public:
  explicit RefusingReactor(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerUnaryReactor* StatService::GetStats(grpc::CallbackServerContext* context,
                                                const v1::GetStatsRequest* request, v1::GetStatsResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  // Reads every counter of every group: milliseconds when there are many.
  return FinishOn(deps_.calls, [reader = reader_, caller = resolved->caller, request, response] {
    reader->Read(caller, request->group_id(), response->mutable_stats());
    return absl::OkStatus();
  });
}

StatsWatch::Reactor* StatService::WatchStats(grpc::CallbackServerContext* context,
                                             const v1::WatchStatsRequest* request) {
  const absl::StatusOr<std::shared_ptr<StatsWatch>> watch = Open(*context, *request);
  if (!watch.ok()) return new RefusingReactor(watch.status());
  return (*watch)->Start();
}

absl::StatusOr<std::shared_ptr<StatsWatch>> StatService::Open(const grpc::CallbackServerContext& context,
                                                              const v1::WatchStatsRequest& request) {
  A8A_ASSIGN_OR_RETURN(const CallerResolver::Resolved resolved, deps_.callers->Resolve(context));
  A8A_ASSIGN_OR_RETURN(const absl::Duration interval, WatchInterval(request));
  const MutexLock lock(&mutex_);
  if (stopped_) return absl::UnavailableError("the daemon is stopping");
  std::erase_if(watches_, [](const auto& watch) { return watch.expired(); });
  if (watches_.size() >= kWatchMax) {
    return absl::ResourceExhaustedError(absl::StrCat("the daemon has ", kWatchMax, " WatchStats streams (the limit)"));
  }
  auto watch = std::make_shared<StatsWatch>(StatsWatch::Options{.reader = reader_,
                                                                .executor = deps_.calls,
                                                                .timers = timers_,
                                                                .caller = resolved.caller,
                                                                .group_id = request.group_id(),
                                                                .interval = interval});
  watches_.push_back(watch);
  return watch;
}

void StatService::Stop() {
  std::vector<std::weak_ptr<StatsWatch>> watches;
  {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    watches.swap(watches_);
  }
  for (const std::weak_ptr<StatsWatch>& weak : watches) {
    if (const std::shared_ptr<StatsWatch> watch = weak.lock())
      watch->End(absl::UnavailableError("the daemon is stopping"));
  }
}

}  // namespace a8a::daemon
