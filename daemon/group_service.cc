#include "daemon/group_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "daemon/paging.h"
#include "daemon/proto_convert.h"
#include "daemon/unary_call.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

JoinOptions ToJoinOptions(const v1::JoinGroupRequest& request) {
  return {.name = request.name(),
          .rank = request.rank(),
          .world_size = request.world_size(),
          .channel_count = request.channel_count() == 0 ? kDefaultChannels : request.channel_count(),
          .device = request.device(),
          .secret = request.secret()};
}

WaitingCall::Steps JoinSteps(Core* core, const Caller& caller, const v1::JoinGroupRequest* request,
                             v1::JoinGroupResponse* response) {
  const auto group_id = std::make_shared<std::uint64_t>();  // for `undo`, set when granted
  const std::uint64_t session_id = request->session_id();
  auto begin = [=](WaitingCall::Done done) {
    return core->JoinGroup(caller, session_id, ToJoinOptions(*request), [=](absl::StatusOr<JoinGrant> grant) {
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

WindowOptions ToWindowOptions(const v1::RegisterWindowRequest& request) {
  WindowOptions options = {.name = request.name(), .size_bytes = request.size_bytes()};
  if (request.has_user_memory()) {
    options.user_memory = {.ipc_handle = request.user_memory().ipc_handle(),
                           .offset_bytes = request.user_memory().offset_bytes()};
  }
  return options;
}

WaitingCall::Steps WindowSteps(Core* core, const Caller& caller, const v1::RegisterWindowRequest* request,
                               v1::RegisterWindowResponse* response) {
  const auto window_index = std::make_shared<int>();  // for `undo`, set when granted
  const std::uint64_t session_id = request->session_id();
  const std::uint64_t group_id = request->group_id();
  auto begin = [=](WaitingCall::Done done) {
    return core->RegisterWindow(caller, session_id, group_id, ToWindowOptions(*request),
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

absl::Status Get(Core* core, const Caller& caller, const v1::GetGroupRequest& request, v1::GetGroupResponse* response) {
  A8A_ASSIGN_OR_RETURN(const GroupInfo group, core->GetGroup(caller, request.group_id()));
  ToProto(group, response->mutable_group());
  return absl::OkStatus();
}

absl::Status List(Core* core, const Caller& caller, const v1::ListGroupsRequest& request,
                  v1::ListGroupsResponse* response) {
  const auto list = [&](std::uint64_t after, int page_size) { return core->ListGroups(caller, after, page_size); };
  const auto id = [](const GroupInfo& group) { return group.group_id; };
  A8A_ASSIGN_OR_RETURN(const std::uint64_t next,
                       FillPage(request.after_group_id(), request.page_size(), list, id, response->mutable_groups()));
  response->set_next_after_group_id(next);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* GroupService::JoinGroup(grpc::CallbackServerContext* context,
                                                  const v1::JoinGroupRequest* request,
                                                  v1::JoinGroupResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return WaitingCall(deps_.core, deps_.calls, deps_.ends)
      .Start(context, JoinSteps(deps_.core, resolved->caller, request, response));
}

grpc::ServerUnaryReactor* GroupService::RegisterWindow(grpc::CallbackServerContext* context,
                                                       const v1::RegisterWindowRequest* request,
                                                       v1::RegisterWindowResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return WaitingCall(deps_.core, deps_.calls, deps_.ends)
      .Start(context, WindowSteps(deps_.core, resolved->caller, request, response));
}

grpc::ServerUnaryReactor* GroupService::ReleaseWindow(grpc::CallbackServerContext* context,
                                                      const v1::ReleaseWindowRequest* request,
                                                      v1::ReleaseWindowResponse*) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishAlwaysOn(deps_.ends, [core = deps_.core, caller = resolved->caller, request] {
    return core->ReleaseWindow(caller, request->session_id(), request->group_id(), request->window_index());
  });
}

grpc::ServerUnaryReactor* GroupService::AbortGroup(grpc::CallbackServerContext* context,
                                                   const v1::AbortGroupRequest* request, v1::AbortGroupResponse*) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishAlwaysOn(deps_.ends, [core = deps_.core, caller = resolved->caller, request] {
    return core->AbortGroup(caller, request->session_id(), request->group_id(), request->message());
  });
}

grpc::ServerUnaryReactor* GroupService::LeaveGroup(grpc::CallbackServerContext* context,
                                                   const v1::LeaveGroupRequest* request, v1::LeaveGroupResponse*) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishAlwaysOn(deps_.ends, [core = deps_.core, caller = resolved->caller, request] {
    return core->LeaveGroup(caller, request->session_id(), request->group_id());
  });
}

grpc::ServerUnaryReactor* GroupService::GetGroup(grpc::CallbackServerContext* context,
                                                 const v1::GetGroupRequest* request, v1::GetGroupResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishNow(context, Get(deps_.core, resolved->caller, *request, response));
}

grpc::ServerUnaryReactor* GroupService::ListGroups(grpc::CallbackServerContext* context,
                                                   const v1::ListGroupsRequest* request,
                                                   v1::ListGroupsResponse* response) {
  const auto resolved = deps_.callers->Resolve(*context);
  if (!resolved.ok()) return FinishNow(context, resolved.status());
  return FinishNow(context, List(deps_.core, resolved->caller, *request, response));
}

}  // namespace a8a::daemon
