#include "daemon/group_service.h"

#include <memory>
#include <utility>

#include "daemon/proto_convert.h"
#include "daemon/requests.h"
#include "daemon/unary_call.h"

namespace a8a::daemon {
namespace {

WaitingCall::Steps JoinSteps(Core* core, const Caller& caller, const v1::JoinGroupRequest* request,
                             v1::JoinGroupResponse* response) {
  const auto group_id = std::make_shared<std::uint64_t>();  // for `undo`, set when granted
  const std::uint64_t session_id = request->session_id();
  auto begin = [=](WaitingCall::Done done) {
    return core->JoinGroup(caller, session_id, FromProto(*request), [=](absl::StatusOr<JoinGrant> grant) {
      if (grant.ok()) {
        *group_id = grant->group.group_id;
        ToProto(*grant, response);
      }
      done(grant.status());
    });
  };
  // The group may have ended by itself meanwhile: there is nothing to do about an error.
  // The other ranks have their answers and would wait for this one: whether it died, which is often why, or not.
  auto undo = [=] {
    core->AbortGroup(caller, session_id, *group_id, "the answer to its join was lost").IgnoreError();
    core->LeaveGroup(caller, session_id, *group_id).IgnoreError();
  };
  return {.begin = std::move(begin), .undo = std::move(undo)};
}

WaitingCall::Steps WindowSteps(Core* core, const Caller& caller, const v1::RegisterWindowRequest* request,
                               v1::RegisterWindowResponse* response) {
  const auto window_index = std::make_shared<int>();  // for `undo`, set when granted
  const std::uint64_t session_id = request->session_id();
  const std::uint64_t group_id = request->group_id();
  auto begin = [=](WaitingCall::Done done) {
    return core->RegisterWindow(caller, session_id, group_id, FromProto(*request),
                                [=](absl::StatusOr<WindowGrant> grant) {
                                  if (grant.ok()) {
                                    *window_index = grant->window_index;
                                    ToProto(*grant, response);
                                  }
                                  done(grant.status());
                                });
  };
  auto undo = [=] { core->ReleaseWindow(caller, session_id, group_id, *window_index).IgnoreError(); };
  return {.begin = std::move(begin), .undo = std::move(undo)};
}

}  // namespace

grpc::ServerUnaryReactor* GroupService::JoinGroup(grpc::CallbackServerContext* context,
                                                  const v1::JoinGroupRequest* request,
                                                  v1::JoinGroupResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return WaitingCall(deps_.core, deps_.calls, deps_.ends)
      .Start(context, resolved->turn, JoinSteps(deps_.core, resolved->caller, request, response));
}

grpc::ServerUnaryReactor* GroupService::RegisterWindow(grpc::CallbackServerContext* context,
                                                       const v1::RegisterWindowRequest* request,
                                                       v1::RegisterWindowResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return WaitingCall(deps_.core, deps_.calls, deps_.ends)
      .Start(context, resolved->turn, WindowSteps(deps_.core, resolved->caller, request, response));
}

grpc::ServerUnaryReactor* GroupService::ReleaseWindow(grpc::CallbackServerContext* context,
                                                      const v1::ReleaseWindowRequest* request,
                                                      v1::ReleaseWindowResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishAlwaysOn(deps_.ends, resolved->turn, [core = deps_.core, caller = resolved->caller, request, response] {
    return Handle(core, caller, *request, response);
  });
}

grpc::ServerUnaryReactor* GroupService::AbortGroup(grpc::CallbackServerContext* context,
                                                   const v1::AbortGroupRequest* request,
                                                   v1::AbortGroupResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishAlwaysOn(deps_.ends, resolved->turn, [core = deps_.core, caller = resolved->caller, request, response] {
    return Handle(core, caller, *request, response);
  });
}

grpc::ServerUnaryReactor* GroupService::LeaveGroup(grpc::CallbackServerContext* context,
                                                   const v1::LeaveGroupRequest* request,
                                                   v1::LeaveGroupResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishAlwaysOn(deps_.ends, resolved->turn, [core = deps_.core, caller = resolved->caller, request, response] {
    return Handle(core, caller, *request, response);
  });
}

grpc::ServerUnaryReactor* GroupService::GetGroup(grpc::CallbackServerContext* context,
                                                 const v1::GetGroupRequest* request, v1::GetGroupResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishQuick(context, deps_.calls, resolved->turn,
                     [core = deps_.core, caller = resolved->caller, request, response] {
                       return Handle(core, caller, *request, response);
                     });
}

grpc::ServerUnaryReactor* GroupService::ListGroups(grpc::CallbackServerContext* context,
                                                   const v1::ListGroupsRequest* request,
                                                   v1::ListGroupsResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishRefused(deps_, context, resolved.status());
  return FinishQuick(context, deps_.calls, resolved->turn,
                     [core = deps_.core, caller = resolved->caller, request, response] {
                       return Handle(core, caller, *request, response);
                     });
}

}  // namespace a8a::daemon
