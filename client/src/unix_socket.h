// Connecting to the daemon's sockets. Here errno becomes absl::Status.
#ifndef A8A_CLIENT_SRC_UNIX_SOCKET_H_
#define A8A_CLIENT_SRC_UNIX_SOCKET_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kernels/base/unique_fd.h"

namespace a8a::client {

// Connects a socket of `type` (SOCK_STREAM, SOCK_SEQPACKET) to `path`. The descriptor is closed on exec.
//
// Errors, all naming the path: INVALID_ARGUMENT (longer than a socket address holds), UNAVAILABLE (nobody listens),
// PERMISSION_DENIED, DEADLINE_EXCEEDED (the daemon does not accept), RESOURCE_EXHAUSTED (no descriptor left).
[[nodiscard]] absl::StatusOr<UniqueFd> ConnectUnixSocket(const std::string& path, int type, absl::Time deadline);

// Waits until `fd` is ready for `events` of poll(2) or has failed; DEADLINE_EXCEEDED otherwise.
[[nodiscard]] absl::Status WaitForSocket(int fd, short events, absl::Time deadline);

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_UNIX_SOCKET_H_
