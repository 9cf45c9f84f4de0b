#include "daemon/requests.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "daemon/core/validation.h"
#include "daemon/paging.h"
#include "daemon/proto_convert.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

constexpr absl::Duration kIntervalMin = absl::Milliseconds(10);
constexpr absl::Duration kIntervalMax = absl::Hours(1);
constexpr absl::Duration kIntervalDefault = absl::Seconds(1);

}  // namespace

absl::Status Handle(Core* core, const Caller& caller, const v1::RegisterBufferRequest& request,
                    v1::RegisterBufferResponse* response) {
  A8A_ASSIGN_OR_RETURN(const LeaseGrant grant, core->RegisterBuffer(caller, request.session_id(), request.device(),
                                                                    request.size_bytes(), request.name()));
  ToProto(grant.buffer, response->mutable_buffer());
  ToProto(grant.ticket, response->mutable_ticket());
  return absl::OkStatus();
}

absl::Status Handle(Core* core, const Caller& caller, const v1::ReleaseBufferRequest& request,
                    v1::ReleaseBufferResponse*) {
  return core->ReleaseBuffer(caller, request.session_id(), request.buffer_id(), request.generation());
}

absl::Status Handle(Core* core, const Caller& caller, const v1::GetBufferRequest& request,
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

absl::Status Handle(Core* core, const Caller& caller, const v1::ListBuffersRequest& request,
                    v1::ListBuffersResponse* response) {
  const auto list = [&](std::uint64_t after, int page_size) { return core->ListBuffers(caller, after, page_size); };
  const auto id = [](const BufferInfo& buffer) { return buffer.buffer_id; };
  A8A_ASSIGN_OR_RETURN(const std::uint64_t next,
                       FillPage(request.after_buffer_id(), request.page_size(), list, id, response->mutable_buffers()));
  response->set_next_after_buffer_id(next);
  return absl::OkStatus();
}

absl::Status Handle(Core* core, const Caller& caller, const v1::ReleaseWindowRequest& request,
                    v1::ReleaseWindowResponse*) {
  return core->ReleaseWindow(caller, request.session_id(), request.group_id(), request.window_index());
}

absl::Status Handle(Core* core, const Caller& caller, const v1::AbortGroupRequest& request, v1::AbortGroupResponse*) {
  return core->AbortGroup(caller, request.session_id(), request.group_id(), request.message());
}

absl::Status Handle(Core* core, const Caller& caller, const v1::LeaveGroupRequest& request, v1::LeaveGroupResponse*) {
  return core->LeaveGroup(caller, request.session_id(), request.group_id());
}

absl::Status Handle(Core* core, const Caller& caller, const v1::GetGroupRequest& request,
                    v1::GetGroupResponse* response) {
  A8A_ASSIGN_OR_RETURN(const GroupInfo group, core->GetGroup(caller, request.group_id()));
  ToProto(group, response->mutable_group());
  return absl::OkStatus();
}

absl::Status Handle(Core* core, const Caller& caller, const v1::ListGroupsRequest& request,
                    v1::ListGroupsResponse* response) {
  const auto list = [&](std::uint64_t after, int page_size) { return core->ListGroups(caller, after, page_size); };
  const auto id = [](const GroupInfo& group) { return group.group_id; };
  A8A_ASSIGN_OR_RETURN(const std::uint64_t next,
                       FillPage(request.after_group_id(), request.page_size(), list, id, response->mutable_groups()));
  response->set_next_after_group_id(next);
  return absl::OkStatus();
}

absl::Status Handle(Core* core, const Caller& caller, const v1::DrainRequest& request, v1::DrainResponse* response) {
  A8A_ASSIGN_OR_RETURN(const absl::Duration timeout, FromProto(request.timeout()));
  A8A_ASSIGN_OR_RETURN(const Core::Load load, core->Drain(caller, timeout));
  response->set_group_count(load.group_count);
  response->set_session_count(load.session_count);
  return absl::OkStatus();
}

absl::Status Handle(Core* core, const Caller& caller, const v1::RevokeRequest& request, v1::RevokeResponse*) {
  A8A_RETURN_IF_ERROR(CheckAdministrator(caller));
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

absl::StatusOr<absl::Duration> WatchInterval(const v1::WatchStatsRequest& request) {
  if (!request.has_interval()) return kIntervalDefault;
  A8A_ASSIGN_OR_RETURN(const absl::Duration interval, FromProto(request.interval()));
  if (interval >= kIntervalMin && interval <= kIntervalMax) return interval;
  return absl::InvalidArgumentError(absl::StrCat("interval ", absl::FormatDuration(interval), " is not in [",
                                                 absl::FormatDuration(kIntervalMin), ", ",
                                                 absl::FormatDuration(kIntervalMax), "]"));
}

}  // namespace a8a::daemon
