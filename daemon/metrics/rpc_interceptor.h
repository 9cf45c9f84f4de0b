// Counts gRPC's calls for Instruments: gRPC makes an interceptor for each call and tells it when the answer is sent.
// Methods that no service has never get here, so that callers cannot make up names.
#ifndef A8A_DAEMON_METRICS_RPC_INTERCEPTOR_H_
#define A8A_DAEMON_METRICS_RPC_INTERCEPTOR_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>

#include "daemon/metrics/instruments.h"

namespace a8a::daemon {

// `instruments` outlives the server.
[[nodiscard]] std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeRpcInterceptors(
    Instruments* instruments);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_METRICS_RPC_INTERCEPTOR_H_
