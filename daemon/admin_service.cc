#include "daemon/admin_service.h"

#include "absl/strings/str_cat.h"
#include "daemon/proto_convert.h"
#include "daemon/unary_call.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

absl::Status RequireAdministrator(const Caller& caller) {
  if (caller.administrator) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat("uid ", caller.identity.uid, " is not an administrator of this daemon"));
}

absl::Status DrainCore(Core* core, const Caller& caller, const v1::DrainRequest& request, v1::DrainResponse* response) {
  A8A_ASSIGN_OR_RETURN(const absl::Duration timeout, FromProto(request.timeout()));
  A8A_ASSIGN_OR_RETURN(const Core::Load load, core->Drain(caller, timeout));
  response->set_group_count(load.group_count);
  response->set_session_count(load.session_count);
  return absl::OkStatus();
}

absl::Status RevokeTarget(Core* core, const Caller& caller, const v1::RevokeRequest& request) {
  A8A_RETURN_IF_ERROR(RequireAdministrator(caller));
  switch (request.target_case()) {
    case v1::RevokeRequest::kSessionId:
      return core->RevokeSession(caller, request.session_id());
    case v1::RevokeRequest::kGroupId:
      return core->RevokeGroup(caller, request.group_id());
    case v1::RevokeRequest::kBufferId:
      return core->RevokeBuffer(caller, request.buffer_id());
    case v1::RevokeRequest::TARGET_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("no target is set; set one of session_id, group_id and buffer_id");
}

absl::Status Reload(Settings* settings, const Caller& caller, v1::ReloadConfigResponse* response) {
  A8A_RETURN_IF_ERROR(RequireAdministrator(caller));
  A8A_ASSIGN_OR_RETURN(const Settings::Changes changes, settings->Reload());
  for (const std::string& key : changes.applied) response->add_applied(key);
  for (const std::string& key : changes.needs_restart) response->add_needs_restart(key);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* context, const v1::DrainRequest* request,
                                              v1::DrainResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  const absl::Status status = DrainCore(deps_.core, resolved->caller, *request, response);
  health_->Refresh();
  return FinishNow(context, status);
}

grpc::ServerUnaryReactor* AdminService::Undrain(grpc::CallbackServerContext* context, const v1::UndrainRequest*,
                                                v1::UndrainResponse*) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  const absl::Status status = deps_.core->Undrain(resolved->caller);
  health_->Refresh();
  return FinishNow(context, status);
}

grpc::ServerUnaryReactor* AdminService::Revoke(grpc::CallbackServerContext* context, const v1::RevokeRequest* request,
                                               v1::RevokeResponse*) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishAlwaysOn(deps_.ends, [core = deps_.core, caller = resolved->caller, request] {
    return RevokeTarget(core, caller, *request);
  });
}

grpc::ServerUnaryReactor* AdminService::ReloadConfig(grpc::CallbackServerContext* context,
                                                     const v1::ReloadConfigRequest*,
                                                     v1::ReloadConfigResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishOn(deps_.calls, [settings = settings_, caller = resolved->caller, response] {
    return Reload(settings, caller, response);
  });
}

}  // namespace a8a::daemon
