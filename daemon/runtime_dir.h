// The runtime directory: the lock that makes a daemon the only one on it, and the two sockets.
//
// Whoever holds the lock owns the files: it replaces sockets that a killed daemon left behind, and removes its own
// files (and the directory, if it made it) when it goes. Used by one thread, but for RemoveFiles.
#ifndef A8A_DAEMON_RUNTIME_DIR_H_
#define A8A_DAEMON_RUNTIME_DIR_H_

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

// By name or number. Errors: INVALID_ARGUMENT if there is no such group.
[[nodiscard]] absl::StatusOr<gid_t> FindGroup(const std::string& group);

class RuntimeDir {
 public:
  // Makes the directory (mode 0755: the sockets have their own) if it is missing and takes the lock, a8a.pid.
  //
  // Errors: FAILED_PRECONDITION if another daemon holds the lock, which is named by its pid, or if the directory is
  // writable by everybody or belongs to somebody else, who could then replace the sockets; those of the file system.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RuntimeDir>> Open(const std::string& path);

  // Calls RemoveFiles and gives the lock up.
  ~RuntimeDir();
  RuntimeDir(const RuntimeDir&) = delete;
  RuntimeDir& operator=(const RuntimeDir&) = delete;

  struct SocketOptions {
    int type = 0;  // SOCK_STREAM or SOCK_SEQPACKET
    mode_t mode = 0;
    std::string group;  // name or number; empty: leave it
  };
  // Listens on a socket in the directory; one that is there already, and that nobody listens on, is replaced.
  // Non-blocking, close-on-exec.
  //
  // Errors: INVALID_ARGUMENT for an unknown group, FAILED_PRECONDITION if what is there is no socket, or somebody's who
  // listens on it without the lock (a service manager); those of the system.
  [[nodiscard]] absl::StatusOr<UniqueFd> Listen(const std::string& name, const SocketOptions& options);

  // As Listen, at a path that may lie elsewhere; it belongs to the runtime directory all the same, and goes with it.
  [[nodiscard]] absl::StatusOr<UniqueFd> ListenAt(const std::string& path, const SocketOptions& options);

  // Removes the sockets, the lock file and the directory if Open made it and it is empty. May be repeated, and called
  // from any thread; files are removed once only, since from then on those of the same names are another daemon's.
  void RemoveFiles() const;

 private:
  RuntimeDir(std::string path, bool made_directory) : path_(std::move(path)), made_directory_(made_directory) {}

  const std::string path_;
  const bool made_directory_;
  UniqueFd lock_;
  std::vector<std::string> files_;  // to remove, in order
  mutable std::atomic<bool> removed_ = false;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_RUNTIME_DIR_H_
