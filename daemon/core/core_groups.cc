// Groups end: a rank leaves, dies or aborts, an administrator revokes, a drain runs out; and what can be asked of them.
//
// An ended group stays until its last rank has left, so that late calls learn why it ended and its memory outlives the
// all-to-alls that still use it. Its name is free at once.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "daemon/core/validation.h"
#include "kernels/base/index.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

constexpr int kAbortMessageBytesMax = 256;

absl::Status NoGroup(std::uint64_t group_id) {
  return absl::NotFoundError(absl::StrCat("no group ", group_id, ": it never was, or all its ranks have left"));
}

}  // namespace

void Core::Impl::FailJoinLocked(Group* group, int rank, const absl::Status& status, Deferred* after) {
  Member& member = *group->members[Index(rank)];
  pending.erase(member.pending_id);
  after->Run([callback = std::move(member.callback), status] { callback(status); });
  group->members[Index(rank)].reset();
}

void Core::Impl::DissolveLocked(Group* group, const absl::Status& status, Deferred* after) {
  for (int rank = 0; rank < group->options.world_size; ++rank) {
    if (group->members[Index(rank)].has_value()) FailJoinLocked(group, rank, status, after);
  }
  ++counters.groups_dissolved_total;
  Log("group_dissolved", {{"group", absl::StrCat(group->group_id)}, {"why", std::string(status.message())}}, after);
  EraseGroupLocked(group, after);
}

void Core::Impl::FreeNameLocked(const Group& group) {
  const auto found = group_ids.find({group.uid, group.options.name});
  if (found != group_ids.end() && found->second == group.group_id) group_ids.erase(found);
}

void Core::Impl::EraseGroupLocked(Group* group, Deferred* after) {
  FreeNameLocked(*group);
  if (group->control != nullptr) {
    Traffic traffic = group->control->ReadTraffic();
    counters.ended_groups += (traffic -= group->traffic_before);
  }
  after->Drop(std::move(group->control));
  leases.ForgetGroup(group->group_id);
  DropLocked(ControlKey(group->group_id), after);
  ChangedLocked(after);
  Log("group_gone", {{"group", absl::StrCat(group->group_id)}}, after);
  groups.erase(group->group_id);
}

void Core::Impl::EndGroupLocked(Group* group, EndReason reason, int rank, const std::string& text, Deferred* after) {
  if (!group->CanEnd(reason)) return;
  group->state = GroupState::kAborted;
  group->end_reason = reason;
  group->end_rank = rank;
  group->end_text = text;
  ++counters.groups_ended_total[static_cast<std::size_t>(reason)];
  FreeNameLocked(*group);
  ChangedLocked(after);
  // A rank that leaves has ended its all-to-alls; those of the others that do not need it go on. Without the control
  // segment, which a client has yet to hand back, SetControlLocked does this.
  if (reason != EndReason::kRankLeft && group->control != nullptr) group->control->Abort(reason, rank);
  FailFormingWindowsLocked(group, group->EndedStatus(), after);
  for (int peer = 0; peer < group->options.world_size; ++peer) {
    const auto& member = group->members[Index(peer)];
    if (!member.has_value() || peer == rank) continue;
    SendLocked(member->session_id, GroupAbortedEvent{group->group_id, reason, rank, text}, after);
  }
  Log("group_aborted", {{"group", absl::StrCat(group->group_id)}, {"name", group->options.name}, {"why", text}}, after);
}

void Core::Impl::RemoveRankLocked(Group* group, int rank, EndReason reason, Deferred* after) {
  Member& member = *group->members[Index(rank)];
  // Who forms has no memory yet: the rank's call fails, and its place is free.
  if (group->state == GroupState::kForming) {
    const absl::Status status = absl::AbortedError(
        absl::StrCat("group \"", group->options.name, "\": ", DescribeEnd(reason, rank), " while it waited"));
    FailJoinLocked(group, rank, status, after);
    if (group->completing) {
      group->ended_while_completing = status;  // CompleteJoin tells the others
    } else if (group->member_count() == 0) {
      EraseGroupLocked(group, after);
    }
    return;
  }
  EndGroupLocked(group, reason, rank, DescribeEnd(reason, rank), after);
  // Only where there is no abort word: a rank that waits must not take a death, or what follows it, for leaving.
  if (group->end_reason == EndReason::kRankLeft && group->control != nullptr) group->control->MarkLeft(rank);
  EraseLeaseLocked(member.flags_buffer_id, after);
  group->members[Index(rank)].reset();
  ChangedLocked(after);
  // A copy: releasing the last part of a window takes it out of the map.
  std::vector<int> window_indices;
  for (const auto& [index, window] : group->windows) window_indices.push_back(index);
  for (const int index : window_indices) ReleasePartLocked(group, index, rank, after);
  Log("rank_gone", {{"group", absl::StrCat(group->group_id)}, {"rank", absl::StrCat(rank)}}, after);
  if (group->member_count() == 0) EraseGroupLocked(group, after);
}

absl::StatusOr<Group*> Core::Impl::FindGroupOfRankLocked(const Caller& caller, std::uint64_t session_id,
                                                         std::uint64_t group_id, int* rank) {
  A8A_RETURN_IF_ERROR(FindSessionLocked(caller, session_id).status());
  const auto found = groups.find(group_id);
  if (found == groups.end()) return NoGroup(group_id);
  const std::optional<int> own = found->second.RankOf(session_id);
  if (!own.has_value()) {
    return absl::PermissionDeniedError(absl::StrCat("session ", session_id, " is no rank of group ", group_id));
  }
  *rank = *own;
  return &found->second;
}

absl::Status Core::AbortGroup(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id,
                              absl::string_view message) {
  A8A_RETURN_IF_ERROR(CheckText("message", message, kAbortMessageBytesMax, Emptiness::kAllowed));
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  int rank = 0;
  A8A_ASSIGN_OR_RETURN(Group* const group, impl_->FindGroupOfRankLocked(caller, session_id, group_id, &rank));
  std::string text = DescribeEnd(EndReason::kAbortedByRank, rank);
  if (!message.empty()) absl::StrAppend(&text, ": ", message);
  switch (group->state) {
    case GroupState::kForming: {
      const absl::Status status = absl::AbortedError(absl::StrCat("group \"", group->options.name, "\": ", text));
      if (group->completing) {
        group->ended_while_completing = status;
      } else {
        impl_->DissolveLocked(group, status, &after);
      }
      return absl::OkStatus();
    }
    case GroupState::kReady:
    case GroupState::kAborted:
      if (!group->CanEnd(EndReason::kAbortedByRank)) break;
      impl_->EndGroupLocked(group, EndReason::kAbortedByRank, rank, text, &after);
      return absl::OkStatus();
  }
  return absl::FailedPreconditionError(group->EndedStatus().message());
}

absl::Status Core::LeaveGroup(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  int rank = 0;
  A8A_ASSIGN_OR_RETURN(Group* const group, impl_->FindGroupOfRankLocked(caller, session_id, group_id, &rank));
  impl_->RemoveRankLocked(group, rank, EndReason::kRankLeft, &after);
  return absl::OkStatus();
}

bool Core::CancelPending(std::uint64_t pending_id, const absl::Status& status) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  const auto found = impl_->pending.find(pending_id);
  if (found == impl_->pending.end()) return false;
  const Pending call = found->second;
  Group* group = &impl_->groups.at(call.group_id);
  if (!call.window_name.empty()) {
    if (group->forming_windows.at(call.window_name).completing) return false;
    impl_->FailPartLocked(group, call.window_name, call.rank, status, &after);
    return true;
  }
  if (group->completing) return false;
  impl_->FailJoinLocked(group, call.rank, status, &after);
  if (group->member_count() == 0) impl_->EraseGroupLocked(group, &after);
  return true;
}

absl::StatusOr<GroupInfo> Core::GetGroup(const Caller& caller, std::uint64_t group_id) const {
  const MutexLock lock(&impl_->mutex);
  const auto found = impl_->groups.find(group_id);
  if (found == impl_->groups.end()) return NoGroup(group_id);
  if (caller.administrator || found->second.uid == caller.identity.uid) return found->second.Info();
  return absl::PermissionDeniedError(absl::StrCat("group ", group_id, " belongs to another uid"));
}

absl::StatusOr<std::vector<GroupInfo>> Core::ListGroups(const Caller& caller, std::uint64_t after_group_id,
                                                        int page_size) const {
  A8A_ASSIGN_OR_RETURN(const int count_max, CheckPageSize(page_size));
  const MutexLock lock(&impl_->mutex);
  std::vector<GroupInfo> infos;
  for (auto it = impl_->groups.upper_bound(after_group_id);
       it != impl_->groups.end() && infos.size() < static_cast<std::size_t>(count_max); ++it) {
    if (caller.administrator || it->second.uid == caller.identity.uid) infos.push_back(it->second.Info());
  }
  return infos;
}

absl::Status Core::RevokeGroup(const Caller& caller, std::uint64_t group_id) {
  A8A_RETURN_IF_ERROR(CheckAdministrator(caller));
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  const auto found = impl_->groups.find(group_id);
  if (found == impl_->groups.end()) return NoGroup(group_id);
  Group* group = &found->second;
  if (group->CanEnd(EndReason::kRevoked)) {
    impl_->EndGroupLocked(group, EndReason::kRevoked, -1, DescribeEnd(EndReason::kRevoked, -1), &after);
    return absl::OkStatus();
  }
  if (group->state == GroupState::kAborted) return absl::FailedPreconditionError(group->EndedStatus().message());
  const absl::Status status =
      absl::AbortedError(absl::StrCat("group \"", group->options.name, "\": an administrator revoked it"));
  if (group->completing) {
    group->ended_while_completing = status;
  } else {
    impl_->DissolveLocked(group, status, &after);
  }
  return absl::OkStatus();
}

}  // namespace a8a::daemon
