#include "daemon/acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/failpoint.h"
#include "kernels/base/status_macros.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace a8a::daemon {
namespace {

// How long to wait when even the reserve is gone, instead of spinning on a listener that stays readable.
constexpr absl::Duration kExhaustedPause = absl::Milliseconds(10);
// Between two newcomers that are dropped for want of a descriptor: whoever connects again at once would otherwise keep
// this thread and itself busy, and calls on open connections waiting for a processor.
constexpr absl::Duration kShedPause = absl::Milliseconds(1);

UniqueFd OpenReserve() {
  return UniqueFd(A8A_FAILPOINT("acceptor.open_reserve", ::open("/dev/null", O_RDONLY | O_CLOEXEC)));
}

bool OutOfResources(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

absl::StatusOr<Identity> PeerIdentity(int socket) {
  ucred credentials = {};
  socklen_t size_bytes = sizeof(credentials);
  if (A8A_FAILPOINT("acceptor.peercred", ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size_bytes)) !=
      0) {
    return absl::ErrnoToStatus(errno, "SO_PEERCRED");
  }
  return Identity{.uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
}

// Those of the process that connected, as it did. The kernel says how many there are where they do not fit.
absl::StatusOr<std::vector<gid_t>> PeerGroups(int socket) {
  std::vector<gid_t> groups(32);
  socklen_t size_bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  int result =
      A8A_FAILPOINT("acceptor.peergroups", ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size_bytes));
  if (result != 0 && errno == ERANGE) {
    groups.resize(size_bytes / sizeof(gid_t));
    result = A8A_FAILPOINT("acceptor.peergroups_again",
                           ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size_bytes));
  }
  if (result != 0) return absl::ErrnoToStatus(errno, "SO_PEERGROUPS");
  groups.resize(size_bytes / sizeof(gid_t));
  return groups;
}

// Nothing is polled for but what always counts: hang-up and errors. A poll that fails does not prove that the peer is
// there.
bool PeerHasClosed(int socket) {
  pollfd entry = {.fd = socket, .events = 0, .revents = 0};
  return A8A_FAILPOINT("acceptor.poll", ::poll(&entry, 1, /*timeout=*/0)) != 0;
}

absl::Status PidfdError(int error, const Identity& identity) {
  if (OutOfResources(error)) return absl::ResourceExhaustedError("the daemon has no descriptor left");
  if (error == ESRCH || error == ENODATA) {
    return absl::UnavailableError(absl::StrCat("process ", identity.pid, " has ended"));
  }
  return absl::FailedPreconditionError(absl::StrCat("the kernel gives no handle of process ", identity.pid, " (",
                                                    std::strerror(error),
                                                    "); across PID namespaces that takes Linux 6.5"));
}

}  // namespace

absl::StatusOr<Peer> ReadPeer(int socket) {
  Peer peer;
  A8A_ASSIGN_OR_RETURN(peer.identity, PeerIdentity(socket));
  A8A_ASSIGN_OR_RETURN(peer.groups, PeerGroups(socket));
  return peer;
}

absl::StatusOr<UniqueFd> PeerPidfd(int socket, const Identity& identity) {
  int fd = -1;
  socklen_t size_bytes = sizeof(fd);
  if (A8A_FAILPOINT("acceptor.peerpidfd", ::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size_bytes)) == 0) {
    return UniqueFd(fd);
  }
  if (errno != ENOPROTOOPT) return PidfdError(errno, identity);
  UniqueFd pidfd(static_cast<int>(A8A_FAILPOINT("acceptor.pidfd_open", ::syscall(SYS_pidfd_open, identity.pid, 0))));
  if (!pidfd.valid()) return PidfdError(errno, identity);
  if (PeerHasClosed(socket)) {
    return absl::UnavailableError(absl::StrCat("process ", identity.pid, " has closed its connection"));
  }
  return pidfd;
}

Acceptor::Acceptor(UniqueFd listener) : listener_(std::move(listener)), reserve_(OpenReserve()) {}

UniqueFd Acceptor::Accept() {
  if (!reserve_.valid()) reserve_ = OpenReserve();
  UniqueFd connection(
      A8A_FAILPOINT("acceptor.accept", ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
  if (!connection.valid() && OutOfResources(errno)) Shed(errno);
  return connection;
}

void Acceptor::Shed(int accept_errno) {
  reserve_.Reset();
  const UniqueFd dropped(A8A_FAILPOINT("acceptor.accept_to_drop",
                                       ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
  throttle_.Log(LogLevel::kWarning, "connection_shed", {{"reason", std::strerror(accept_errno)}});
  absl::SleepFor(dropped.valid() ? kShedPause : kExhaustedPause);
}

}  // namespace a8a::daemon
