// A plain client of the daemon for its tests: stubs of all services over one connection, sessions, and fd.sock without
// the client library, so that a test sees exactly what the daemon sends.
#ifndef A8A_TESTS_INTEGRATION_DAEMON_DAEMON_CLIENT_H_
#define A8A_TESTS_INTEGRATION_DAEMON_DAEMON_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "a8a/v1/admin_service.grpc.pb.h"
#include "a8a/v1/buffer_service.grpc.pb.h"
#include "a8a/v1/group_service.grpc.pb.h"
#include "a8a/v1/session_service.grpc.pb.h"
#include "a8a/v1/stat_service.grpc.pb.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "kernels/base/unique_fd.h"
#include "proto/fd_protocol.h"

namespace a8a::testing {

// A channel of its own connection; gRPC would share one among channels of the same address.
[[nodiscard]] std::shared_ptr<grpc::Channel> NewChannel(const std::string& address);

// An Attach stream. Not thread-safe, except for Break.
class Session {
 public:
  // Opens a stream and sends `hello`; look at status() when id() is 0.
  Session(v1::SessionService::Stub* stub, const v1::Hello& hello);
  // Breaks the stream, if it is still open, and waits for its end.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] std::uint64_t id() const { return welcome_.session_id(); }
  [[nodiscard]] const v1::Welcome& welcome() const { return welcome_; }
  // The next message; nothing when the stream has ended.
  [[nodiscard]] std::optional<v1::AttachResponse> Read();
  // Returns false if the stream has ended.
  bool Send(const v1::AttachRequest& request);
  // Reads to the end and returns the stream's status.
  [[nodiscard]] grpc::Status Finish();
  // Says goodbye, then Finish.
  [[nodiscard]] grpc::Status Goodbye();
  // As if the connection had been cut: no goodbye.
  void Break() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>> stream_;
  v1::Welcome welcome_;
  std::optional<grpc::Status> status_;
};

[[nodiscard]] v1::Hello MakeHello(const std::string& client_name = "test");

struct DaemonClient {
  explicit DaemonClient(const std::string& address);

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::SessionService::Stub> session;
  std::unique_ptr<v1::BufferService::Stub> buffer;
  std::unique_ptr<v1::GroupService::Stub> group;
  std::unique_ptr<v1::StatService::Stub> stat;
  std::unique_ptr<v1::AdminService::Stub> admin;
  std::unique_ptr<grpc::health::v1::Health::Stub> health;

  [[nodiscard]] std::unique_ptr<Session> Attach(const std::string& client_name = "test") const;
  [[nodiscard]] v1::Stats Stats() const;
  [[nodiscard]] grpc::health::v1::HealthCheckResponse::ServingStatus Health(const std::string& name) const;
};

// One unary call: Call(stub.get(), &Stub::GetBuffer, request, &response).
template <typename Stub, typename Request, typename Response>
grpc::Status Call(Stub* stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                  const Request& request, Response* response, absl::Duration timeout = absl::Seconds(60)) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  return (stub->*method)(&context, request, response);
}

// One connection to fd.sock.
class FdClient {
 public:
  explicit FdClient(const std::string& path);

  [[nodiscard]] int fd() const { return socket_.get(); }
  // Sends raw bytes as one message; false if the daemon has closed the connection.
  bool Send(const void* data, std::size_t size_bytes) const;
  // Sends a request.
  bool Send(std::uint64_t session_id, const std::string& ticket) const;

  struct Reply {
    FdReply reply = {};
    UniqueFd fd;
  };
  // Waits for a reply; nothing when the daemon has closed the connection.
  [[nodiscard]] std::optional<Reply> Receive() const;
  // Send, then Receive.
  [[nodiscard]] std::optional<Reply> Redeem(std::uint64_t session_id, const v1::Ticket& ticket) const;

 private:
  UniqueFd socket_;
};

// Waits until `done` returns true; false when it has not for kPatience.
[[nodiscard]] bool Eventually(const std::function<bool()>& done);

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_DAEMON_DAEMON_CLIENT_H_
