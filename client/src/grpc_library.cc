#include "client/src/grpc_library.h"

#include <grpc/grpc.h>

#include "client/src/signal_mask.h"

namespace a8a::client {

GrpcLibrary::GrpcLibrary() {
  const BlockSignals block;  // inherited by the threads that gRPC starts
  grpc_init();
}

// The blocking form: grpc_shutdown may leave the work to a thread of its own, which would still be there afterwards.
GrpcLibrary::~GrpcLibrary() { grpc_shutdown_blocking(); }

}  // namespace a8a::client
