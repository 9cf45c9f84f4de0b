// Unix sockets as a service manager makes them for a service.
#ifndef A8A_TESTS_SUPPORT_LISTENING_SOCKET_H_
#define A8A_TESTS_SUPPORT_LISTENING_SOCKET_H_

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/base/unique_fd.h"

namespace a8a::testing {

// Bound to `path`, for owner and group, and not yet listening. Aborts the process when it cannot be made.
inline UniqueFd BoundSocket(const std::string& path, int type) {
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  A8A_CHECK(path.copy(address.sun_path, sizeof(address.sun_path) - 1) == path.size(), "the socket's path is too long");
  ::unlink(path.c_str());
  A8A_CHECK(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0,
            absl::StrCat("cannot bind ", path));
  A8A_CHECK(::chmod(path.c_str(), 0660) == 0, path);
  return socket;
}

inline UniqueFd ListeningSocket(const std::string& path, int type) {
  UniqueFd socket = BoundSocket(path, type);
  A8A_CHECK(::listen(socket.get(), SOMAXCONN) == 0, absl::StrCat("cannot listen on ", path));
  return socket;
}

}  // namespace a8a::testing

#endif  // A8A_TESTS_SUPPORT_LISTENING_SOCKET_H_
