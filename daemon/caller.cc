#include "daemon/caller.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/access.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {

absl::StatusOr<CallerResolver::Resolved> CallerResolver::Resolve(const grpc::CallbackServerContext& context) const {
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<const Connection> connection, registry_->Find(context.peer()));
  const Caller caller = {.identity = connection->peer.identity,
                         .administrator = IsAdministrator(connection->peer, *settings_->current())};
  A8A_ASSIGN_OR_RETURN(const Turn turn, CountRequest(caller));
  return Resolved{.caller = caller, .turn = turn, .connection = std::move(connection)};
}

std::uint32_t CallerResolver::UidOf(const grpc::CallbackServerContext& context) const {
  const absl::StatusOr<std::shared_ptr<const Connection>> connection = registry_->Find(context.peer());
  return connection.ok() ? (*connection)->peer.identity.uid : Executor::kDaemon;
}

absl::StatusOr<Turn> CallerResolver::CountRequest(const Caller& caller) const {
  Turn turn = {.uid = caller.identity.uid};
  if (caller.administrator) return turn;
  const absl::StatusOr<absl::Duration> wait =
      requests_.Take(turn.uid, settings_->current()->request_rate_max_per_uid, absl::Now());
  if (!wait.ok()) {
    if (on_refused_) on_refused_();
    throttle_.Log(LogLevel::kWarning, "request_refused",
                  {{"uid", absl::StrCat(turn.uid)},
                   {"pid", absl::StrCat(caller.identity.pid)},
                   {"reason", std::string(wait.status().message())}});
    return wait.status();
  }
  if (*wait > absl::ZeroDuration())
    turn.not_before = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(*wait);
  return turn;
}

}  // namespace a8a::daemon
