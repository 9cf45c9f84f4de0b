#include "tests/integration/daemon/daemon_client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>

#include "absl/time/clock.h"
#include "kernels/base/check.h"
#include "tests/support/daemon_process.h"

namespace a8a::testing {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(2);

sockaddr_un Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  A8A_CHECK(path.size() < sizeof(address.sun_path), path + " is too long for a socket");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

}  // namespace

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

v1::Hello MakeHello(const std::string& client_name) {
  v1::Hello hello;
  hello.set_client_name(client_name);
  hello.set_protocol_version(kProtocolVersion);
  return hello;
}

Session::Session(v1::SessionService::Stub* stub, const v1::Hello& hello) {
  context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  stream_ = stub->Attach(&context_);
  v1::AttachRequest request;
  *request.mutable_hello() = hello;
  stream_->Write(request);
  const std::optional<v1::AttachResponse> first = Read();
  if (first.has_value()) welcome_ = first->welcome();
}

Session::~Session() {
  if (status_.has_value()) return;
  Break();
  (void)Finish();
}

std::optional<v1::AttachResponse> Session::Read() {
  v1::AttachResponse response;
  if (!stream_->Read(&response)) return std::nullopt;
  return response;
}

bool Session::Send(const v1::AttachRequest& request) { return stream_->Write(request); }

grpc::Status Session::Finish() {
  while (Read().has_value()) {
  }
  if (!status_.has_value()) status_ = stream_->Finish();
  return *status_;
}

grpc::Status Session::Goodbye() {
  v1::AttachRequest request;
  request.mutable_goodbye();
  Send(request);
  return Finish();
}

DaemonClient::DaemonClient(const std::string& address)
    : channel(NewChannel(address)),
      session(v1::SessionService::NewStub(channel)),
      buffer(v1::BufferService::NewStub(channel)),
      group(v1::GroupService::NewStub(channel)),
      stat(v1::StatService::NewStub(channel)),
      admin(v1::AdminService::NewStub(channel)),
      health(grpc::health::v1::Health::NewStub(channel)) {}

std::unique_ptr<Session> DaemonClient::Attach(const std::string& client_name) const {
  return std::make_unique<Session>(session.get(), MakeHello(client_name));
}

v1::Stats DaemonClient::Stats() const {
  v1::GetStatsResponse response;
  const grpc::Status status = Call(stat.get(), &v1::StatService::Stub::GetStats, v1::GetStatsRequest(), &response);
  A8A_CHECK(status.ok(), status.error_message());
  return response.stats();
}

grpc::health::v1::HealthCheckResponse::ServingStatus DaemonClient::Health(const std::string& name) const {
  grpc::health::v1::HealthCheckRequest request;
  grpc::health::v1::HealthCheckResponse response;
  request.set_service(name);
  const grpc::Status status = Call(health.get(), &grpc::health::v1::Health::Stub::Check, request, &response);
  return status.ok() ? response.status() : grpc::health::v1::HealthCheckResponse::UNKNOWN;
}

FdClient::FdClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
  const sockaddr_un address = Address(path);
  A8A_CHECK(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0,
            "cannot connect to " + path);
  const timeval patience = {.tv_sec = absl::ToInt64Seconds(kPatience), .tv_usec = 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

bool FdClient::Send(const void* data, std::size_t size_bytes) const {
  return ::send(socket_.get(), data, size_bytes, MSG_NOSIGNAL) == static_cast<ssize_t>(size_bytes);
}

bool FdClient::Send(std::uint64_t session_id, const std::string& ticket) const {
  FdRequest request = {.magic = kFdMagic, .kind = FdRequestKind::kRedeem, .session_id = session_id, .argument = {}};
  A8A_CHECK(ticket.size() == sizeof(request.argument), "a ticket has 16 bytes");
  std::memcpy(request.argument, ticket.data(), ticket.size());
  return Send(&request, sizeof(request));
}

std::optional<FdClient::Reply> FdClient::Receive() const {
  Reply reply;
  iovec part = {.iov_base = &reply.reply, .iov_len = sizeof(reply.reply)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC) != static_cast<ssize_t>(sizeof(reply.reply))) {
    return std::nullopt;
  }
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    reply.fd.Reset(fd);
  }
  return reply;
}

std::optional<FdClient::Reply> FdClient::Redeem(std::uint64_t session_id, const v1::Ticket& ticket) const {
  // A daemon that takes no request has said why before it closed the connection.
  Send(session_id, ticket.value());
  return Receive();
}

bool Eventually(const std::function<bool()>& done) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!done()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(kPollInterval);
  }
  return true;
}

}  // namespace a8a::testing
