// gRPC's status becomes absl's here; the codes are the same numbers.
#ifndef A8A_CLIENT_SRC_GRPC_STATUS_H_
#define A8A_CLIENT_SRC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace a8a::client {

[[nodiscard]] inline absl::Status FromGrpcStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// The same code, with `context` before the message.
[[nodiscard]] inline absl::Status WithContext(const absl::Status& status, absl::string_view context) {
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_GRPC_STATUS_H_
