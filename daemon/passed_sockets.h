// Listening sockets that a service manager, or whoever started the daemon, has made for it (socket activation). Clients
// can connect before the daemon runs, and while it is restarted: they wait in the sockets' queues.
#ifndef A8A_DAEMON_PASSED_SOCKETS_H_
#define A8A_DAEMON_PASSED_SOCKETS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "daemon/options.h"
#include "daemon/service_manager.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

// Those of the runtime directory. Both or none; non-blocking, close-on-exec.
struct Listeners {
  UniqueFd grpc;  // a8a.sock
  UniqueFd fd;    // fd.sock
};

// Finds out by its path which one each of `passed` is; their names do not count, since a socket unit has one for all of
// its sockets. None passed: none returned.
//
// Errors: FAILED_PRECONDITION for one without the other, one that is neither, is there twice, is not of its type or
// does not listen, and one that lets in more than socket_mode and socket_group say: what else depends on who can
// connect (legacy_ipc) relies on the options.
[[nodiscard]] absl::StatusOr<Listeners> IdentifySockets(std::vector<PassedSocket> passed, const Options& options);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_PASSED_SOCKETS_H_
