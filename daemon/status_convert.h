// The one place where a Status becomes a gRPC status.
#ifndef A8A_DAEMON_STATUS_CONVERT_H_
#define A8A_DAEMON_STATUS_CONVERT_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace a8a::daemon {

// The same code; the message cut to what fits a client's limit for metadata beside everything else.
[[nodiscard]] grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_STATUS_CONVERT_H_
