// What a unary request comes to: decoded, given to the core, answered. Services add who calls and on which thread.
//
// Without gRPC, so that it can be called, and fuzzed, without a server. Thread-safe, as the core is.
#ifndef A8A_DAEMON_REQUESTS_H_
#define A8A_DAEMON_REQUESTS_H_

#include "a8a/v1/admin_service.pb.h"
#include "a8a/v1/buffer_service.pb.h"
#include "a8a/v1/group_service.pb.h"
#include "a8a/v1/stat_service.pb.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/core/core.h"

namespace a8a::daemon {

// Errors of all: those of the RPC (proto/a8a/v1). The response is filled only where the status is OK.
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::RegisterBufferRequest& request,
                                  v1::RegisterBufferResponse* response);
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::ReleaseBufferRequest& request,
                                  v1::ReleaseBufferResponse* response);
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::GetBufferRequest& request,
                                  v1::GetBufferResponse* response);
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::ListBuffersRequest& request,
                                  v1::ListBuffersResponse* response);

[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::ReleaseWindowRequest& request,
                                  v1::ReleaseWindowResponse* response);
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::AbortGroupRequest& request,
                                  v1::AbortGroupResponse* response);
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::LeaveGroupRequest& request,
                                  v1::LeaveGroupResponse* response);
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::GetGroupRequest& request,
                                  v1::GetGroupResponse* response);
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::ListGroupsRequest& request,
                                  v1::ListGroupsResponse* response);

[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::DrainRequest& request,
                                  v1::DrainResponse* response);
[[nodiscard]] absl::Status Handle(Core* core, const Caller& caller, const v1::RevokeRequest& request,
                                  v1::RevokeResponse* response);

// How often a WatchStats stream is to send: its interval, or the default.
[[nodiscard]] absl::StatusOr<absl::Duration> WatchInterval(const v1::WatchStatsRequest& request);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_REQUESTS_H_
