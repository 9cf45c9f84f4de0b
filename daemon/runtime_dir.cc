#include "daemon/runtime_dir.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/failpoint.h"
#include "kernels/base/check.h"
#include "kernels/base/status_macros.h"
#include "proto/fd_protocol.h"

namespace a8a::daemon {
namespace {

constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kLockFileMode = 0644;
// Connections that wait to be accepted: the ranks of many groups start at the same moment.
constexpr int kListenBacklog = 1024;
// A lock file can vanish between open and flock when its holder ends just then; that often in a row it cannot.
constexpr int kLockAttempts = 100;
// A daemon that is killed gives its lock up before its sockets, microseconds apart.
constexpr absl::Duration kDyingTime = absl::Seconds(1);
constexpr absl::Duration kDyingPollInterval = absl::Milliseconds(5);

// Returns whether it made the directory.
absl::StatusOr<bool> MakeDirectory(const std::string& path) {
  if (A8A_FAILPOINT("runtime_dir.mkdir", ::mkdir(path.c_str(), kDirectoryMode)) == 0) return true;
  if (errno == EEXIST) return false;
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot make runtime directory ", path));
}

absl::Status CheckDirectory(const std::string& path) {
  struct stat status = {};
  if (A8A_FAILPOINT("runtime_dir.stat", ::stat(path.c_str(), &status)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("runtime directory ", path));
  }
  if (!S_ISDIR(status.st_mode)) return absl::FailedPreconditionError(absl::StrCat(path, " is not a directory"));
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    return absl::FailedPreconditionError(absl::StrCat("runtime directory ", path, " belongs to uid ", status.st_uid,
                                                      "; it must belong to uid ", ::geteuid(), " or root"));
  }
  if ((status.st_mode & S_IWOTH) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("runtime directory ", path, " is writable by everybody; remove that right or use another one"));
  }
  return absl::OkStatus();
}

absl::Status LockedByAnother(const std::string& directory, int lock_fd) {
  char text[32] = {};
  const ssize_t count = A8A_FAILPOINT("runtime_dir.pread", ::pread(lock_fd, text, sizeof(text) - 1, 0));
  absl::string_view pid(text, count > 0 ? static_cast<std::size_t>(count) : 0);
  absl::ConsumeSuffix(&pid, "\n");
  return absl::FailedPreconditionError(absl::StrCat("another a8a-daemon (pid ", pid.empty() ? "unknown" : pid,
                                                    ") serves ", directory, "; stop it or use another --runtime-dir"));
}

// Whether `fd` is still the file at `path`, and not one that its last holder has removed.
bool IsFileAt(int fd, const std::string& path) {
  struct stat open_file = {};
  struct stat named_file = {};
  return A8A_FAILPOINT("runtime_dir.fstat_lock", ::fstat(fd, &open_file)) == 0 &&
         A8A_FAILPOINT("runtime_dir.stat_lock", ::stat(path.c_str(), &named_file)) == 0 &&
         open_file.st_dev == named_file.st_dev && open_file.st_ino == named_file.st_ino;
}

absl::Status WritePid(int fd, const std::string& path) {
  const std::string text = absl::StrCat(::getpid(), "\n");
  if (A8A_FAILPOINT("runtime_dir.ftruncate", ::ftruncate(fd, 0)) == 0 &&
      A8A_FAILPOINT("runtime_dir.pwrite", ::pwrite(fd, text.data(), text.size(), 0)) ==
          static_cast<ssize_t>(text.size())) {
    return absl::OkStatus();
  }
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
}

absl::StatusOr<UniqueFd> TakeLock(const std::string& directory, const std::string& path) {
  for (int attempt = 0; attempt < kLockAttempts; ++attempt) {
    UniqueFd fd(A8A_FAILPOINT("runtime_dir.open_lock",
                              ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kLockFileMode)));
    if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open lock file ", path));
    if (A8A_FAILPOINT("runtime_dir.flock", ::flock(fd.get(), LOCK_EX | LOCK_NB)) != 0) {
      if (errno == EWOULDBLOCK) return LockedByAnother(directory, fd.get());
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot lock ", path));
    }
    if (!IsFileAt(fd.get(), path)) continue;
    absl::Status status = WritePid(fd.get(), path);
    if (status.ok()) return fd;
    static_cast<void>(A8A_FAILPOINT("runtime_dir.unlink_lock", ::unlink(path.c_str())));
    return status;
  }
  return absl::UnavailableError(absl::StrCat("lock file ", path, " was replaced ", kLockAttempts, " times; try again"));
}

sockaddr_un SocketAddress(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  A8A_CHECK(path.size() < sizeof(address.sun_path), absl::StrCat(path, " was checked by the option table"));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

// Whether somebody takes connections, or would if there were room in the queue.
bool IsListenedOn(const std::string& path, int type) {
  const UniqueFd socket(
      A8A_FAILPOINT("runtime_dir.socket_to_try", ::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  const sockaddr_un address = SocketAddress(path);
  return A8A_FAILPOINT("runtime_dir.connect",
                       ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address))) == 0 ||
         errno == EAGAIN || errno == EPROTOTYPE;
}

// A socket here is a dead daemon's, since this one holds the lock, or one of a service manager, which has no lock;
// anything else is somebody's file.
absl::Status CheckReplaceable(const std::string& path, int type) {
  struct stat found = {};
  if (A8A_FAILPOINT("runtime_dir.lstat", ::lstat(path.c_str(), &found)) != 0) {
    return errno == ENOENT ? absl::OkStatus() : absl::ErrnoToStatus(errno, absl::StrCat("cannot look at ", path));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is in the way and no socket; move it or name another --runtime-dir"));
  }
  const absl::Time deadline = absl::Now() + kDyingTime;
  while (IsListenedOn(path, type)) {
    if (absl::Now() > deadline) {
      return absl::FailedPreconditionError(
          absl::StrCat(path,
                       " is listened on by somebody else, a service manager perhaps (systemctl status "
                       "a8a.socket); start the daemon through it, stop it, or name another --runtime-dir"));
    }
    absl::SleepFor(kDyingPollInterval);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<gid_t> FindGroup(const std::string& group) {
  gid_t gid = 0;
  if (absl::SimpleAtoi(group, &gid)) return gid;
  char buffer[16384];
  struct group entry = {};
  struct group* found = nullptr;
  if (A8A_FAILPOINT("runtime_dir.getgrnam", ::getgrnam_r(group.c_str(), &entry, buffer, sizeof(buffer), &found)) != 0 ||
      found == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("socket-group \"", group, "\" is no group of this machine"));
  }
  return found->gr_gid;
}

absl::StatusOr<std::unique_ptr<RuntimeDir>> RuntimeDir::Open(const std::string& path) {
  A8A_ASSIGN_OR_RETURN(const bool made_directory, MakeDirectory(path));
  std::unique_ptr<RuntimeDir> directory(new RuntimeDir(path, made_directory));
  A8A_RETURN_IF_ERROR(CheckDirectory(path));
  const std::string lock_path = absl::StrCat(path, "/", kLockFileName);
  A8A_ASSIGN_OR_RETURN(directory->lock_, TakeLock(path, lock_path));
  directory->files_.push_back(lock_path);
  return directory;
}

RuntimeDir::~RuntimeDir() { RemoveFiles(); }

void RuntimeDir::RemoveFiles() const {
  // The lock file goes last, and all while it is locked: then nobody else can have made these files.
  if (!removed_.exchange(true)) {
    for (auto file = files_.rbegin(); file != files_.rend(); ++file) {
      static_cast<void>(A8A_FAILPOINT("runtime_dir.unlink", ::unlink(file->c_str())));
    }
  }
  if (made_directory_) static_cast<void>(A8A_FAILPOINT("runtime_dir.rmdir", ::rmdir(path_.c_str())));
}

absl::StatusOr<UniqueFd> RuntimeDir::Listen(const std::string& name, const SocketOptions& options) {
  return ListenAt(absl::StrCat(path_, "/", name), options);
}

absl::StatusOr<UniqueFd> RuntimeDir::ListenAt(const std::string& path, const SocketOptions& options) {
  UniqueFd socket(
      A8A_FAILPOINT("runtime_dir.socket", ::socket(AF_UNIX, options.type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  if (!socket.valid()) return absl::ErrnoToStatus(errno, "cannot make a socket");
  A8A_RETURN_IF_ERROR(CheckReplaceable(path, options.type));
  // Nobody can connect before listen(), by when the permissions are right.
  if (A8A_FAILPOINT("runtime_dir.unlink_socket", ::unlink(path.c_str())) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot replace ", path));
  }
  const sockaddr_un address = SocketAddress(path);
  if (A8A_FAILPOINT("runtime_dir.bind",
                    ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address))) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot bind ", path));
  }
  files_.push_back(path);
  if (!options.group.empty()) {
    A8A_ASSIGN_OR_RETURN(const gid_t gid, FindGroup(options.group));
    if (A8A_FAILPOINT("runtime_dir.lchown", ::lchown(path.c_str(), static_cast<uid_t>(-1), gid)) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot give ", path, " to group ", options.group));
    }
  }
  if (A8A_FAILPOINT("runtime_dir.chmod", ::chmod(path.c_str(), options.mode)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot chmod ", path));
  }
  if (A8A_FAILPOINT("runtime_dir.listen", ::listen(socket.get(), kListenBacklog)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot listen on ", path));
  }
  return socket;
}

}  // namespace a8a::daemon
