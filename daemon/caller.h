// Who makes a gRPC call: from the connection's registry entry, never from the request. Every call comes through here
// once, and is counted against the requests that its uid may make in a second. Those of administrators are not: they
// could stop the daemon anyway, and must be able to revoke what others do. Thread-safe.
#ifndef A8A_DAEMON_CALLER_H_
#define A8A_DAEMON_CALLER_H_

#include <grpcpp/server_context.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "daemon/connection_registry.h"
#include "daemon/core/core.h"
#include "daemon/executor.h"
#include "daemon/log.h"
#include "daemon/request_quota.h"
#include "daemon/settings.h"

namespace a8a::daemon {

class CallerResolver {
 public:
  // Both outlive the resolver. `on_refused`, if set, is told of each request that is refused.
  CallerResolver(const ConnectionRegistry* registry, const Settings* settings,
                 std::function<void()> on_refused = nullptr)
      : registry_(registry), settings_(settings), on_refused_(std::move(on_refused)) {}

  struct Resolved {
    Caller caller;
    Turn turn;  // when the call may go on
    std::shared_ptr<const Connection> connection;
    UidCounter::Hold stream = nullptr;  // of an Attach stream: counts it
  };
  // Errors: INTERNAL if the connection is unknown, a bug of the daemon. RESOURCE_EXHAUSTED if the uid makes too many
  // requests.
  [[nodiscard]] absl::StatusOr<Resolved> Resolve(const grpc::CallbackServerContext& context) const;
  // Of a call that was refused; Executor::kDaemon, which nobody has, if the connection is unknown.
  [[nodiscard]] std::uint32_t UidOf(const grpc::CallbackServerContext& context) const;
  // Ends the connection of a caller that does not stop.
  void Disconnect(const grpc::CallbackServerContext& context) const { registry_->Shutdown(context.peer()); }

 private:
  [[nodiscard]] absl::StatusOr<Turn> CountRequest(const Caller& caller) const;

  const ConnectionRegistry* const registry_;
  const Settings* const settings_;
  const std::function<void()> on_refused_;
  mutable RequestQuota requests_;
  mutable LogThrottle throttle_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CALLER_H_
