#include "daemon/admin_service.h"

#include "daemon/core/validation.h"
#include "daemon/requests.h"
#include "daemon/unary_call.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

absl::Status Reload(Settings* settings, const Caller& caller, v1::ReloadConfigResponse* response) {
  A8A_RETURN_IF_ERROR(CheckAdministrator(caller));
  A8A_ASSIGN_OR_RETURN(const Settings::Changes changes, settings->Reload());
  for (const std::string& key : changes.applied) response->add_applied(key);
  for (const std::string& key : changes.needs_restart) response->add_needs_restart(key);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* context, const v1::DrainRequest* request,
                                              v1::DrainResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  const absl::Status status = Handle(deps_.core, resolved->caller, *request, response);
  health_->Refresh();
  return FinishNow(context, status);
}

grpc::ServerUnaryReactor* AdminService::Undrain(grpc::CallbackServerContext* context, const v1::UndrainRequest*,
                                                v1::UndrainResponse*) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  const absl::Status status = deps_.core->Undrain(resolved->caller);
  health_->Refresh();
  return FinishNow(context, status);
}

grpc::ServerUnaryReactor* AdminService::Revoke(grpc::CallbackServerContext* context, const v1::RevokeRequest* request,
                                               v1::RevokeResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishAlwaysOn(deps_.ends, resolved->turn, [core = deps_.core, caller = resolved->caller, request, response] {
    return Handle(core, caller, *request, response);
  });
}

grpc::ServerUnaryReactor* AdminService::ReloadConfig(grpc::CallbackServerContext* context,
                                                     const v1::ReloadConfigRequest*,
                                                     v1::ReloadConfigResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishOn(deps_.calls, resolved->turn, [settings = settings_, caller = resolved->caller, response] {
    return Reload(settings, caller, response);
  });
}

}  // namespace a8a::daemon
