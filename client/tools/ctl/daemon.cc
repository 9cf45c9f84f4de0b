#include "client/tools/ctl/daemon.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>

#include "a8a/v1/admin_service.grpc.pb.h"
#include "a8a/v1/buffer_service.grpc.pb.h"
#include "a8a/v1/stat_service.grpc.pb.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/src/grpc_status.h"
#include "client/src/unix_socket.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/unique_fd.h"
#include "proto/fd_protocol.h"

namespace a8a::ctl {
namespace {

// A snapshot of 256 groups of 64 ranks with all their channels and windows has some tens of MiB.
constexpr int kMessageBytesMax = 256 << 20;
// As large as the daemon allows.
constexpr int kPageSize = 1000;

class GrpcDaemon : public Daemon {
 public:
  GrpcDaemon(const std::shared_ptr<grpc::Channel>& channel, absl::Duration timeout)
      : timeout_(timeout),
        stat_(v1::StatService::NewStub(channel)),
        buffer_(v1::BufferService::NewStub(channel)),
        admin_(v1::AdminService::NewStub(channel)),
        health_(grpc::health::v1::Health::NewStub(channel)) {}

  absl::StatusOr<v1::Stats> GetStats(std::uint64_t group_id) override {
    v1::GetStatsRequest request;
    v1::GetStatsResponse response;
    request.set_group_id(group_id);
    A8A_RETURN_IF_ERROR(Call(stat_.get(), &v1::StatService::Stub::GetStats, request, &response));
    return response.stats();
  }

  absl::StatusOr<std::vector<v1::Buffer>> ListBuffers() override {
    std::vector<v1::Buffer> buffers;
    v1::ListBuffersRequest request;
    request.set_page_size(kPageSize);
    while (true) {
      v1::ListBuffersResponse response;
      A8A_RETURN_IF_ERROR(Call(buffer_.get(), &v1::BufferService::Stub::ListBuffers, request, &response));
      buffers.insert(buffers.end(), response.buffers().begin(), response.buffers().end());
      if (response.next_after_buffer_id() == 0) return buffers;
      request.set_after_buffer_id(response.next_after_buffer_id());
    }
  }

  absl::StatusOr<std::string> CheckHealth(const std::string& name) override {
    grpc::health::v1::HealthCheckRequest request;
    grpc::health::v1::HealthCheckResponse response;
    request.set_service(name);
    const absl::Status status = Call(health_.get(), &grpc::health::v1::Health::Stub::Check, request, &response);
    // gRPC's implementation has no text for it.
    if (absl::IsNotFound(status)) return absl::NotFoundError(absl::StrCat("health has no name \"", name, "\""));
    A8A_RETURN_IF_ERROR(status);
    return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
  }

  absl::StatusOr<v1::DrainResponse> Drain(absl::Duration timeout) override {
    v1::DrainRequest request;
    v1::DrainResponse response;
    request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(timeout));
    request.mutable_timeout()->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(timeout % absl::Seconds(1))));
    A8A_RETURN_IF_ERROR(Call(admin_.get(), &v1::AdminService::Stub::Drain, request, &response));
    return response;
  }

  absl::Status Undrain() override {
    v1::UndrainResponse response;
    return Call(admin_.get(), &v1::AdminService::Stub::Undrain, v1::UndrainRequest(), &response);
  }

  absl::Status Revoke(const v1::RevokeRequest& request) override {
    v1::RevokeResponse response;
    return Call(admin_.get(), &v1::AdminService::Stub::Revoke, request, &response);
  }

  absl::StatusOr<v1::ReloadConfigResponse> ReloadConfig() override {
    v1::ReloadConfigResponse response;
    A8A_RETURN_IF_ERROR(
        Call(admin_.get(), &v1::AdminService::Stub::ReloadConfig, v1::ReloadConfigRequest(), &response));
    return response;
  }

 private:
  template <typename Stub, typename Request, typename Response>
  absl::Status Call(Stub* stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout_));
    const absl::Status status = client::FromGrpcStatus((stub->*method)(&context, request, response));
    if (!absl::IsDeadlineExceeded(status)) return status;
    return absl::DeadlineExceededError(
        absl::StrCat("the daemon does not answer within ", absl::FormatDuration(timeout_), " (--timeout)"));
  }

  const absl::Duration timeout_;
  const std::unique_ptr<v1::StatService::Stub> stat_;
  const std::unique_ptr<v1::BufferService::Stub> buffer_;
  const std::unique_ptr<v1::AdminService::Stub> admin_;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Connect(const std::string& runtime_dir, absl::Duration timeout) {
  const std::string path = absl::StrCat(runtime_dir, "/", kGrpcSocketName);
  A8A_ASSIGN_OR_RETURN(UniqueFd socket, client::ConnectUnixSocket(path, SOCK_STREAM, absl::Now() + timeout));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  // gRPC owns the descriptor from here on, whatever comes of it.
  return std::make_unique<GrpcDaemon>(
      grpc::CreateCustomInsecureChannelFromFd(absl::StrCat("unix:", path), socket.Release(), arguments), timeout);
}

}  // namespace a8a::ctl
