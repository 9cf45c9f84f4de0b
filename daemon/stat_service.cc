#include "daemon/stat_service.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/refusal.h"
#include "daemon/requests.h"
#include "daemon/unary_call.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

// Streams at once: dashboards and operators. At the shortest interval each costs a snapshot every 10 ms.
constexpr std::size_t kWatchMax = 64;
constexpr int kWatchMaxPerUid = 32;

}  // namespace

grpc::ServerUnaryReactor* StatService::GetStats(grpc::CallbackServerContext* context,
                                                const v1::GetStatsRequest* request, v1::GetStatsResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  // Reads every counter of every group: milliseconds when there are many.
  return FinishOn(deps_.calls, resolved->turn, [reader = reader_, caller = resolved->caller, request, response] {
    reader->Read(caller, request->group_id(), response->mutable_stats());
    return absl::OkStatus();
  });
}

StatsWatch::Reactor* StatService::WatchStats(grpc::CallbackServerContext* context,
                                             const v1::WatchStatsRequest* request) {
  const absl::StatusOr<std::shared_ptr<StatsWatch>> watch = Open(*context, *request);
  if (!watch.ok()) return NewRefusal<StatsWatch::Reactor>(deps_, *context, watch.status());
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
  const std::uint32_t uid = resolved.caller.identity.uid;
  const auto of_uid = std::count_if(watches_.begin(), watches_.end(), [uid](const auto& weak) {
    const std::shared_ptr<StatsWatch> other = weak.lock();
    return other != nullptr && other->uid() == uid;
  });
  if (of_uid >= kWatchMaxPerUid) {
    return absl::ResourceExhaustedError(
        absl::StrCat("uid ", uid, " has ", of_uid, " WatchStats streams; its limit is ", kWatchMaxPerUid));
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
