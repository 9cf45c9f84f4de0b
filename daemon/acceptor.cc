#include "daemon/acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace a8a::daemon {
namespace {

// How long to wait when even the reserve is gone, instead of spinning on a listener that stays readable.
constexpr absl::Duration kExhaustedPause = absl::Milliseconds(10);

UniqueFd OpenReserve() { return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

bool OutOfResources(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

bool PeerHasClosed(int socket) {
  pollfd entry = {.fd = socket, .events = 0, .revents = 0};
  return ::poll(&entry, 1, /*timeout=*/0) == 1 && (entry.revents & (POLLHUP | POLLERR)) != 0;
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

absl::StatusOr<Identity> PeerIdentity(int socket) {
  ucred credentials = {};
  socklen_t size_bytes = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size_bytes) != 0) {
    return absl::ErrnoToStatus(errno, "SO_PEERCRED");
  }
  return Identity{.uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
}

absl::StatusOr<UniqueFd> PeerPidfd(int socket, const Identity& identity) {
  int fd = -1;
  socklen_t size_bytes = sizeof(fd);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size_bytes) == 0) return UniqueFd(fd);
  if (errno != ENOPROTOOPT) return PidfdError(errno, identity);
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0)));
  if (!pidfd.valid()) return PidfdError(errno, identity);
  if (PeerHasClosed(socket)) {
    return absl::UnavailableError(absl::StrCat("process ", identity.pid, " has closed its connection"));
  }
  return pidfd;
}

Acceptor::Acceptor(UniqueFd listener) : listener_(std::move(listener)), reserve_(OpenReserve()) {}

UniqueFd Acceptor::Accept() {
  if (!reserve_.valid()) reserve_ = OpenReserve();
  UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!connection.valid() && OutOfResources(errno)) Shed(errno);
  return connection;
}

void Acceptor::Shed(int accept_errno) {
  reserve_.Reset();
  const UniqueFd dropped(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  throttle_.Log(LogLevel::kWarning, "connection_shed", {{"reason", std::strerror(accept_errno)}});
  if (!dropped.valid()) absl::SleepFor(kExhaustedPause);
}

}  // namespace a8a::daemon
