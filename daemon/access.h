// Who may connect and who may administrate, by what the kernel recorded of a process when it connected.
//
// Root, the daemon's own uid and administrators may always connect. Everybody else may if allowed_uids or allowed_gids
// names them, or if both are empty: then the mode of the sockets has decided. A gid is matched against the primary
// group (SO_PEERCRED) and the supplementary ones (SO_PEERGROUPS), both as of the time of connect. Stateless.
#ifndef A8A_DAEMON_ACCESS_H_
#define A8A_DAEMON_ACCESS_H_

#include <sys/types.h>

#include <vector>

#include "absl/status/status.h"
#include "daemon/core/core.h"
#include "daemon/options.h"

namespace a8a::daemon {

// A process that has connected.
struct Peer {
  Identity identity;
  std::vector<gid_t> groups;  // supplementary
};

[[nodiscard]] bool IsAdministrator(const Peer& peer, const Options& options);

// PERMISSION_DENIED names uid, gid and the options that keep the peer out.
[[nodiscard]] absl::Status CheckMayConnect(const Peer& peer, const Options& options);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_ACCESS_H_
