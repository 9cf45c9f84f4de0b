// Who makes a gRPC call: from the connection's registry entry, never from the request. Thread-safe.
//
// Administrators are root, the daemon's own uid and the uids that the config lists.
#ifndef A8A_DAEMON_CALLER_H_
#define A8A_DAEMON_CALLER_H_

#include <grpcpp/server_context.h>

#include <memory>

#include "absl/status/statusor.h"
#include "daemon/connection_registry.h"
#include "daemon/core/core.h"
#include "daemon/settings.h"

namespace a8a::daemon {

class CallerResolver {
 public:
  // Both outlive the resolver.
  CallerResolver(const ConnectionRegistry* registry, const Settings* settings)
      : registry_(registry), settings_(settings) {}

  struct Resolved {
    Caller caller;
    std::shared_ptr<const Connection> connection;
  };
  // Errors: INTERNAL if the connection is unknown, a bug of the daemon.
  [[nodiscard]] absl::StatusOr<Resolved> Resolve(const grpc::CallbackServerContext& context) const;

 private:
  const ConnectionRegistry* const registry_;
  const Settings* const settings_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CALLER_H_
