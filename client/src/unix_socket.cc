#include "client/src/unix_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "client/src/deadline.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {
namespace {

absl::StatusOr<sockaddr_un> MakeAddress(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  constexpr std::size_t kPathMax = sizeof(address.sun_path) - 1;
  if (path.size() > kPathMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("socket path ", path, " has ", path.size(), " bytes; an address holds ", kPathMax));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::Status ConnectError(int error, const std::string& path) {
  const std::string text = absl::StrCat("cannot connect to ", path, ": ", std::strerror(error));
  switch (error) {
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(text, "; it takes the group that owns the socket"));
    case EAGAIN:  // SO_SNDTIMEO has passed while the listener's queue was full
      return absl::DeadlineExceededError(absl::StrCat("cannot connect to ", path, ": the daemon does not accept"));
    case ENOENT:
    case ECONNREFUSED:
      return absl::UnavailableError(absl::StrCat(text, "; is a8a-daemon running?"));
    default:
      return absl::UnavailableError(text);
  }
}

// Bounds how long connect(2) waits for room in the listener's queue. Zero would mean forever.
void LimitConnectTime(int fd, absl::Time deadline) {
  const absl::Duration left = std::max(ClampTimeout(deadline - absl::Now()), absl::Milliseconds(1));
  const timeval timeout = absl::ToTimeval(left);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

}  // namespace

absl::StatusOr<UniqueFd> ConnectUnixSocket(const std::string& path, int type, absl::Time deadline) {
  A8A_ASSIGN_OR_RETURN(const sockaddr_un address, MakeAddress(path));
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket.valid()) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot make a socket for ", path, ": ", std::strerror(errno)));
  }
  while (true) {
    LimitConnectTime(socket.get(), deadline);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return socket;
    if (errno != EINTR) return ConnectError(errno, path);
  }
}

absl::Status WaitForSocket(int fd, short events, absl::Time deadline) {
  while (true) {
    pollfd entry = {.fd = fd, .events = events, .revents = 0};
    const int timeout_ms = PollTimeoutMs(deadline);
    const int ready = ::poll(&entry, 1, timeout_ms);
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return absl::InternalError(absl::StrCat("poll: ", std::strerror(errno)));
    if (ready == 0 && timeout_ms == 0) return absl::DeadlineExceededError("the daemon does not answer in time");
  }
}

}  // namespace a8a::client
