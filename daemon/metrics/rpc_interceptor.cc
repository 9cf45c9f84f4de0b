#include "daemon/metrics/rpc_interceptor.h"

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace a8a::daemon {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::ServerRpcInfo;

class RpcInterceptor final : public grpc::experimental::Interceptor {
 public:
  RpcInterceptor(Instruments* instruments, const ServerRpcInfo* info)
      : instruments_(instruments),
        method_(info->method()),
        unary_(info->type() == ServerRpcInfo::Type::UNARY),
        start_(std::chrono::steady_clock::now()) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      Count(methods->GetSendStatus().error_code());
    }
    methods->Proceed();
  }

 private:
  void Count(grpc::StatusCode grpc_code) const {
    // The codes are the same numbers, and Abseil has their names.
    const std::string code = absl::StatusCodeToString(static_cast<absl::StatusCode>(grpc_code));
    if (!unary_) return instruments_->CountStream(method_, code);
    instruments_->CountRpc(method_, code, absl::FromChrono(std::chrono::steady_clock::now() - start_));
  }

  Instruments* const instruments_;
  const std::string method_;
  const bool unary_;
  const std::chrono::steady_clock::time_point start_;
};

class RpcInterceptorFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit RpcInterceptorFactory(Instruments* instruments) : instruments_(instruments) {}
  // gRPC deletes it with the call.
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new RpcInterceptor(instruments_, info);
  }

 private:
  Instruments* const instruments_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcInterceptors(Instruments* instruments) {
  return std::make_unique<RpcInterceptorFactory>(instruments);
}

}  // namespace a8a::daemon
