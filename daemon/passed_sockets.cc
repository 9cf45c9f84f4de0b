#include "daemon/passed_sockets.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/failpoint.h"
#include "daemon/runtime_dir.h"
#include "kernels/base/status_macros.h"
#include "proto/fd_protocol.h"

namespace a8a::daemon {
namespace {

constexpr mode_t kPermissions = 0777;

std::string TypeName(int type) {
  if (type == SOCK_STREAM) return "SOCK_STREAM (ListenStream=)";
  if (type == SOCK_SEQPACKET) return "SOCK_SEQPACKET (ListenSequentialPacket=)";
  return absl::StrCat("socket type ", type);
}

absl::StatusOr<int> SocketOption(int fd, int option) {
  int value = 0;
  socklen_t size_bytes = sizeof(value);
  if (A8A_FAILPOINT("passed_sockets.getsockopt", ::getsockopt(fd, SOL_SOCKET, option, &value, &size_bytes)) == 0) {
    return value;
  }
  return absl::ErrnoToStatus(errno, absl::StrCat("passed socket ", fd));
}

// Where clients find it.
absl::StatusOr<std::string> PathOf(const PassedSocket& socket) {
  sockaddr_un address = {};
  socklen_t size_bytes = sizeof(address);
  if (A8A_FAILPOINT("passed_sockets.getsockname",
                    ::getsockname(socket.fd.get(), reinterpret_cast<sockaddr*>(&address), &size_bytes)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("passed socket ", socket.fd.get()));
  }
  // Unnamed and abstract sockets have no path.
  if (address.sun_family != AF_UNIX || size_bytes <= offsetof(sockaddr_un, sun_path) || address.sun_path[0] == '\0') {
    return absl::FailedPreconditionError(
        absl::StrCat("passed socket ", socket.fd.get(), " (\"", socket.name, "\") is no Unix socket with a path"));
  }
  return std::string(address.sun_path, ::strnlen(address.sun_path, sizeof(address.sun_path)));
}

bool Found(const std::string& path, struct stat* status) {
  return A8A_FAILPOINT("passed_sockets.stat", ::stat(path.c_str(), status)) == 0;
}

// Not by their text alone: /var/run is /run.
bool SameFile(const std::string& a, const std::string& b) {
  struct stat stat_a = {};
  struct stat stat_b = {};
  return Found(a, &stat_a) && Found(b, &stat_b) && stat_a.st_dev == stat_b.st_dev && stat_a.st_ino == stat_b.st_ino;
}

absl::Status CheckListens(int fd, int type, const std::string& path) {
  A8A_ASSIGN_OR_RETURN(const int actual_type, SocketOption(fd, SO_TYPE));
  if (actual_type != type) {
    return absl::FailedPreconditionError(
        absl::StrCat("passed socket ", path, " is a ", TypeName(actual_type), "; must be a ", TypeName(type)));
  }
  A8A_ASSIGN_OR_RETURN(const int listens, SocketOption(fd, SO_ACCEPTCONN));
  if (listens != 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("passed socket ", path, " does not listen; it must (Accept=no in its unit)"));
}

absl::Status CheckWhomItLetsIn(const std::string& path, const Options& options) {
  struct stat status = {};
  if (!Found(path, &status)) return absl::ErrnoToStatus(errno, path);
  const mode_t mode = status.st_mode & kPermissions;
  if ((mode & ~options.socket_mode) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("passed socket %s has mode %04o, which lets in more than socket_mode %04o; make SocketMode= "
                        "and socket_mode the same",
                        path, mode, options.socket_mode));
  }
  if (options.socket_group.empty()) return absl::OkStatus();
  A8A_ASSIGN_OR_RETURN(const gid_t gid, FindGroup(options.socket_group));
  if (gid == status.st_gid) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("passed socket ", path, " belongs to gid ", status.st_gid,
                                                    ", socket_group \"", options.socket_group, "\" is gid ", gid,
                                                    "; make SocketGroup= and socket_group the same"));
}

absl::Status DoNotBlock(int fd) {
  const int flags = A8A_FAILPOINT("passed_sockets.get_flags", ::fcntl(fd, F_GETFL));
  if (flags >= 0 && A8A_FAILPOINT("passed_sockets.set_flags", ::fcntl(fd, F_SETFL, flags | O_NONBLOCK)) == 0) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, absl::StrCat("passed socket ", fd));
}

absl::Status Take(PassedSocket socket, const Options& options, Listeners* listeners) {
  A8A_ASSIGN_OR_RETURN(const std::string path, PathOf(socket));
  const std::string grpc_path = absl::StrCat(options.runtime_dir, "/", kGrpcSocketName);
  const std::string fd_path = absl::StrCat(options.runtime_dir, "/", kFdSocketName);
  const bool is_grpc = SameFile(path, grpc_path);
  if (!is_grpc && !SameFile(path, fd_path)) {
    return absl::FailedPreconditionError(
        absl::StrCat("passed socket ", path, " is neither ", grpc_path, " nor ", fd_path,
                     ", or its file has been removed; the socket unit and runtime_dir must name the same directory"));
  }
  A8A_RETURN_IF_ERROR(CheckListens(socket.fd.get(), is_grpc ? SOCK_STREAM : SOCK_SEQPACKET, path));
  A8A_RETURN_IF_ERROR(CheckWhomItLetsIn(path, options));
  A8A_RETURN_IF_ERROR(DoNotBlock(socket.fd.get()));
  UniqueFd& listener = is_grpc ? listeners->grpc : listeners->fd;
  if (listener.valid()) return absl::FailedPreconditionError(absl::StrCat("socket ", path, " was passed twice"));
  listener = std::move(socket.fd);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Listeners> IdentifySockets(std::vector<PassedSocket> passed, const Options& options) {
  Listeners listeners;
  for (PassedSocket& socket : passed) A8A_RETURN_IF_ERROR(Take(std::move(socket), options, &listeners));
  if (listeners.grpc.valid() == listeners.fd.valid()) return listeners;
  const char* const passed_name = listeners.grpc.valid() ? kGrpcSocketName : kFdSocketName;
  const char* const missing_name = listeners.grpc.valid() ? kFdSocketName : kGrpcSocketName;
  return absl::FailedPreconditionError(absl::StrCat("socket ", passed_name, " was passed without ", missing_name,
                                                    "; pass both of ", options.runtime_dir, ", or none"));
}

}  // namespace a8a::daemon
