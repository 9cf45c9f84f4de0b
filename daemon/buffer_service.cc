#include "daemon/buffer_service.h"

#include "daemon/requests.h"
#include "daemon/unary_call.h"

namespace a8a::daemon {

grpc::ServerUnaryReactor* BufferService::RegisterBuffer(grpc::CallbackServerContext* context,
                                                        const v1::RegisterBufferRequest* request,
                                                        v1::RegisterBufferResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishOn(deps_.calls, resolved->turn, [core = deps_.core, caller = resolved->caller, request, response] {
    return Handle(core, caller, *request, response);
  });
}

grpc::ServerUnaryReactor* BufferService::ReleaseBuffer(grpc::CallbackServerContext* context,
                                                       const v1::ReleaseBufferRequest* request,
                                                       v1::ReleaseBufferResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishAlwaysOn(deps_.ends, resolved->turn, [core = deps_.core, caller = resolved->caller, request, response] {
    return Handle(core, caller, *request, response);
  });
}

grpc::ServerUnaryReactor* BufferService::GetBuffer(grpc::CallbackServerContext* context,
                                                   const v1::GetBufferRequest* request,
                                                   v1::GetBufferResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishQuick(context, deps_.calls, resolved->turn,
                     [core = deps_.core, caller = resolved->caller, request, response] {
                       return Handle(core, caller, *request, response);
                     });
}

grpc::ServerUnaryReactor* BufferService::ListBuffers(grpc::CallbackServerContext* context,
                                                     const v1::ListBuffersRequest* request,
                                                     v1::ListBuffersResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishQuick(context, deps_.calls, resolved->turn,
                     [core = deps_.core, caller = resolved->caller, request, response] {
                       return Handle(core, caller, *request, response);
                     });
}

}  // namespace a8a::daemon
