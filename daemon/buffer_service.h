// a8a.v1.BufferService: translates to the core, which validates.
#ifndef A8A_DAEMON_BUFFER_SERVICE_H_
#define A8A_DAEMON_BUFFER_SERVICE_H_

#include "a8a/v1/buffer_service.grpc.pb.h"
#include "daemon/service_deps.h"

namespace a8a::daemon {

class BufferService final : public v1::BufferService::CallbackService {
 public:
  explicit BufferService(const ServiceDeps& deps) : deps_(deps) {}

  grpc::ServerUnaryReactor* RegisterBuffer(grpc::CallbackServerContext* context,
                                           const v1::RegisterBufferRequest* request,
                                           v1::RegisterBufferResponse* response) override;
  grpc::ServerUnaryReactor* ReleaseBuffer(grpc::CallbackServerContext* context, const v1::ReleaseBufferRequest* request,
                                          v1::ReleaseBufferResponse* response) override;
  grpc::ServerUnaryReactor* GetBuffer(grpc::CallbackServerContext* context, const v1::GetBufferRequest* request,
                                      v1::GetBufferResponse* response) override;
  grpc::ServerUnaryReactor* ListBuffers(grpc::CallbackServerContext* context, const v1::ListBuffersRequest* request,
                                        v1::ListBuffersResponse* response) override;

 private:
  const ServiceDeps deps_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_BUFFER_SERVICE_H_
