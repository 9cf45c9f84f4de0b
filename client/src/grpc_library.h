// Holds gRPC's global state, so that the last owner takes all of it down: threads and descriptors.
//
// Create one before the first gRPC object and destroy it after the last. The destructor blocks until the threads of
// gRPC have ended, unless somebody else in the process uses the same gRPC.
#ifndef A8A_CLIENT_SRC_GRPC_LIBRARY_H_
#define A8A_CLIENT_SRC_GRPC_LIBRARY_H_

namespace a8a::client {

class GrpcLibrary {
 public:
  GrpcLibrary();
  ~GrpcLibrary();
  GrpcLibrary(const GrpcLibrary&) = delete;
  GrpcLibrary& operator=(const GrpcLibrary&) = delete;
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_GRPC_LIBRARY_H_
