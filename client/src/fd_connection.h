// A connection to fd.sock, where tickets are exchanged for descriptors, and descriptors are handed back to a daemon
// that was restarted (proto/fd_protocol.h).
//
// Opened for one batch of tickets and closed after it: the daemon closes silent connections, so a kept one would have
// to be opened anew anyway. Not thread-safe.
#ifndef A8A_CLIENT_SRC_FD_CONNECTION_H_
#define A8A_CLIENT_SRC_FD_CONNECTION_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kernels/base/unique_fd.h"
#include "proto/fd_protocol.h"

namespace a8a::client {

class FdConnection {
 public:
  // Errors: as ConnectUnixSocket.
  [[nodiscard]] static absl::StatusOr<FdConnection> Open(const std::string& runtime_dir, absl::Time deadline);
  // Takes a connected socket; `path` is for messages.
  FdConnection(UniqueFd socket, std::string path) : socket_(std::move(socket)), path_(std::move(path)) {}

  struct Redeemed {
    UniqueFd fd;  // closed on exec
    std::int64_t size_bytes = 0;
  };
  // Exchanges a ticket of `session_id`; `what` names the memory in messages.
  //
  // Errors: those of the daemon, UNAVAILABLE (it went away), DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED (this process has no
  // descriptor left), INTERNAL (an answer that the protocol does not know).
  [[nodiscard]] absl::StatusOr<Redeemed> Redeem(std::uint64_t session_id, absl::string_view ticket,
                                                absl::string_view what, absl::Time deadline);

  // Hands `fd` back, which stays the caller's; -1 for kHandBackDone.
  //
  // Errors: those of the daemon, UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL.
  [[nodiscard]] absl::Status HandBack(FdRequestKind kind, std::uint64_t session_id, const FdHandBack& object, int fd,
                                      absl::Time deadline);

 private:
  // With descriptor `fd` unless that is negative.
  [[nodiscard]] absl::Status Send(const FdRequest& request, int fd, absl::Time deadline);
  [[nodiscard]] absl::StatusOr<Redeemed> ReceiveDescriptor(absl::Time deadline);
  // One answer, without what it says checked.
  struct Answer;
  [[nodiscard]] absl::StatusOr<Answer> Receive(absl::Time deadline);

  UniqueFd socket_;
  std::string path_;
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_FD_CONNECTION_H_
