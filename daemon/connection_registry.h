// Which process is behind which gRPC connection.
//
// gRPC 1.51 tells a service nothing about its peer but "fd:N", N being the descriptor that the connection was handed
// over with. The accept loop records who is behind N before it hands N over, and takes a number again only after
// thousands of others, so that a call that is still under way when its connection closes is not taken for one of the
// next connection. gRPC does not tell when it closes N either: N is then free or names another file, which fstat shows.
//
// Thread-safe.
#ifndef A8A_DAEMON_CONNECTION_REGISTRY_H_
#define A8A_DAEMON_CONNECTION_REGISTRY_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/access.h"
#include "daemon/uid_counter.h"
#include "kernels/base/mutex.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

// One process's connection. Constant.
struct Connection {
  Peer peer;
  // Becomes readable when the process ends; or why there is none.
  absl::StatusOr<UniqueFd> pidfd = absl::UnknownError("unset");
  // Counts its socket and its pidfd.
  UidCounter::Hold descriptors;
};

class ConnectionRegistry {
 public:
  // Records who is behind the socket `number`, which must be open; a former connection of that number is forgotten.
  //
  // Errors: INTERNAL if the number cannot be examined.
  [[nodiscard]] absl::Status Add(int number, std::shared_ptr<const Connection> connection);

  // The connection that `peer` names, as ServerContext::peer() gives it.
  //
  // Errors: INTERNAL if there is none, which is a bug of the daemon: no request has an influence on it.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const Connection>> Find(absl::string_view peer) const;

  // Ends the connection that `peer` names, for both sides; gRPC closes it then. Ignored if it is closed.
  void Shutdown(absl::string_view peer) const;

  // Forgets closed connections.
  void Sweep();

  // Open connections; closed ones count until the next Sweep.
  [[nodiscard]] int CountOfUid(std::uint32_t uid) const;
  [[nodiscard]] int Count() const;

 private:
  struct Entry {
    std::shared_ptr<const Connection> connection;
    ino_t inode = 0;
    UidCounter::Hold count;
  };

  UidCounter counts_;
  [[nodiscard]] static std::optional<int> NumberOf(absl::string_view peer);

  mutable Mutex mutex_;
  std::map<int, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // by number
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CONNECTION_REGISTRY_H_
