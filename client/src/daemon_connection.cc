#include "client/src/daemon_connection.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/support/channel_arguments.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "client/src/signal_mask.h"
#include "client/src/unix_socket.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/unique_fd.h"
#include "kernels/base/version.h"
#include "proto/fd_protocol.h"

namespace a8a::client {
namespace {

// A window of 64 ranks takes 10 KiB; the rest is room for messages that grow.
constexpr int kMessageBytesMax = 1 << 20;

grpc::ChannelArguments ChannelArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix(absl::StrCat("a8a/", kVersion));
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  arguments.SetMaxSendMessageSize(kMessageBytesMax);
  // gRPC's own retries would repeat calls that are not idempotent.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  return arguments;
}

}  // namespace

absl::StatusOr<std::shared_ptr<DaemonConnection>> DaemonConnection::Open(const std::string& runtime_dir,
                                                                         absl::Time deadline) {
  const std::string path = absl::StrCat(runtime_dir, "/", kGrpcSocketName);
  A8A_ASSIGN_OR_RETURN(UniqueFd socket, ConnectUnixSocket(path, SOCK_STREAM, deadline));
  const BlockSignals block;  // gRPC may start threads here
  // gRPC owns the descriptor from here on, whatever comes of it.
  return std::make_shared<DaemonConnection>(
      grpc::CreateCustomInsecureChannelFromFd(absl::StrCat("unix:", path), socket.Release(), ChannelArguments()));
}

DaemonConnection::DaemonConnection(const std::shared_ptr<grpc::Channel>& channel)
    : session_(v1::SessionService::NewStub(channel)),
      buffer_(v1::BufferService::NewStub(channel)),
      group_(v1::GroupService::NewStub(channel)) {}

}  // namespace a8a::client
