// One gRPC connection to the daemon, with the stubs that the client uses.
//
// It is made from a connected socket and never reconnects by itself: once the connection breaks, all its calls fail,
// and the session makes a new one. So there is no resolver, no shared subchannel, no proxy and no hidden retry, the
// socket is closed on exec from its first moment, and a failing connect is seen as the errno it is. Thread-safe.
#ifndef A8A_CLIENT_SRC_DAEMON_CONNECTION_H_
#define A8A_CLIENT_SRC_DAEMON_CONNECTION_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "a8a/v1/buffer_service.grpc.pb.h"
#include "a8a/v1/group_service.grpc.pb.h"
#include "a8a/v1/session_service.grpc.pb.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace a8a::client {

class DaemonConnection {
 public:
  // Errors: as ConnectUnixSocket.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<DaemonConnection>> Open(const std::string& runtime_dir,
                                                                              absl::Time deadline);
  explicit DaemonConnection(const std::shared_ptr<grpc::Channel>& channel);

  [[nodiscard]] v1::SessionService::Stub* session() { return session_.get(); }
  [[nodiscard]] v1::BufferService::Stub* buffer() { return buffer_.get(); }
  [[nodiscard]] v1::GroupService::Stub* group() { return group_.get(); }

 private:
  const std::unique_ptr<v1::SessionService::Stub> session_;
  const std::unique_ptr<v1::BufferService::Stub> buffer_;
  const std::unique_ptr<v1::GroupService::Stub> group_;
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_DAEMON_CONNECTION_H_
