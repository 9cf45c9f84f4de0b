// A listening unix socket that outlives floods: it keeps accepting after the process or the system ran out of
// descriptors. Used by one thread.
#ifndef A8A_DAEMON_ACCEPTOR_H_
#define A8A_DAEMON_ACCEPTOR_H_

#include "absl/status/statusor.h"
#include "daemon/access.h"
#include "daemon/core/core.h"
#include "daemon/log.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

// Who has connected `socket`, as the kernel recorded it then (SO_PEERCRED, SO_PEERGROUPS).
[[nodiscard]] absl::StatusOr<Peer> ReadPeer(int socket);

// A handle of the process that connected `socket`, for waiting until it ends. Through SO_PEERPIDFD (Linux 6.5), else
// through the pid, and then only if the process had not closed the socket yet, so that a pid that is in use again is
// not taken for it.
//
// Errors: UNAVAILABLE if the process has ended or closed the socket, FAILED_PRECONDITION if the kernel gives no handle
// (a process outside the daemon's PID namespace, before Linux 6.5), RESOURCE_EXHAUSTED when out of descriptors.
[[nodiscard]] absl::StatusOr<UniqueFd> PeerPidfd(int socket, const Identity& identity);

class Acceptor {
 public:
  // `listener` listens and does not block.
  explicit Acceptor(UniqueFd listener);

  [[nodiscard]] int fd() const { return listener_.get(); }

  // Takes the next connection, non-blocking and close-on-exec; invalid if none waits or none could be taken. Out of
  // descriptors, the newcomer is accepted with the one descriptor held in reserve and closed: left in the queue it
  // would keep the listener readable.
  [[nodiscard]] UniqueFd Accept();

 private:
  void Shed(int accept_errno);

  UniqueFd listener_;
  UniqueFd reserve_;
  LogThrottle throttle_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_ACCEPTOR_H_
