#include "daemon/buffer_service.h"

#include <vector>

#include "daemon/paging.h"
#include "daemon/proto_convert.h"
#include "daemon/unary_call.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

absl::Status Register(Core* core, const Caller& caller, const v1::RegisterBufferRequest& request,
                      v1::RegisterBufferResponse* response) {
  A8A_ASSIGN_OR_RETURN(const LeaseGrant grant, core->RegisterBuffer(caller, request.session_id(), request.device(),
                                                                    request.size_bytes(), request.name()));
  ToProto(grant.buffer, response->mutable_buffer());
  ToProto(grant.ticket, response->mutable_ticket());
  return absl::OkStatus();
}

absl::Status Get(Core* core, const Caller& caller, const v1::GetBufferRequest& request,
                 v1::GetBufferResponse* response) {
  if (!request.issue_ticket()) {
    A8A_ASSIGN_OR_RETURN(const BufferInfo buffer, core->GetBuffer(caller, request.session_id(), request.buffer_id()));
    ToProto(buffer, response->mutable_buffer());
    return absl::OkStatus();
  }
  A8A_ASSIGN_OR_RETURN(const LeaseGrant grant, core->IssueTicket(caller, request.session_id(), request.buffer_id()));
  ToProto(grant.buffer, response->mutable_buffer());
  ToProto(grant.ticket, response->mutable_ticket());
  return absl::OkStatus();
}

absl::Status List(Core* core, const Caller& caller, const v1::ListBuffersRequest& request,
                  v1::ListBuffersResponse* response) {
  const auto list = [&](std::uint64_t after, int page_size) { return core->ListBuffers(caller, after, page_size); };
  const auto id = [](const BufferInfo& buffer) { return buffer.buffer_id; };
  A8A_ASSIGN_OR_RETURN(const std::uint64_t next,
                       FillPage(request.after_buffer_id(), request.page_size(), list, id, response->mutable_buffers()));
  response->set_next_after_buffer_id(next);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* BufferService::RegisterBuffer(grpc::CallbackServerContext* context,
                                                        const v1::RegisterBufferRequest* request,
                                                        v1::RegisterBufferResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishOn(deps_.calls, [core = deps_.core, caller = resolved->caller, request, response] {
    return Register(core, caller, *request, response);
  });
}

grpc::ServerUnaryReactor* BufferService::ReleaseBuffer(grpc::CallbackServerContext* context,
                                                       const v1::ReleaseBufferRequest* request,
                                                       v1::ReleaseBufferResponse*) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishAlwaysOn(deps_.ends, [core = deps_.core, caller = resolved->caller, request] {
    return core->ReleaseBuffer(caller, request->session_id(), request->buffer_id(), request->generation());
  });
}

grpc::ServerUnaryReactor* BufferService::GetBuffer(grpc::CallbackServerContext* context,
                                                   const v1::GetBufferRequest* request,
                                                   v1::GetBufferResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishNow(context, Get(deps_.core, resolved->caller, *request, response));
}

grpc::ServerUnaryReactor* BufferService::ListBuffers(grpc::CallbackServerContext* context,
                                                     const v1::ListBuffersRequest* request,
                                                     v1::ListBuffersResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishNow(context, List(deps_.core, resolved->caller, *request, response));
}

}  // namespace a8a::daemon
