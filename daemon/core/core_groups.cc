#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "daemon/core/validation.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/flags_layout.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

constexpr int kSecretBytesMax = 64;
constexpr int kAbortMessageBytesMax = 256;

std::size_t Index(int rank) { return static_cast<std::size_t>(rank); }

absl::Status CheckJoin(const JoinOptions& options) {
  A8A_RETURN_IF_ERROR(CheckText("name", options.name, kMaxNameBytes, Emptiness::kRefused));
  A8A_RETURN_IF_ERROR(CheckRange("world_size", options.world_size, 1, kMaxWorldSize));
  A8A_RETURN_IF_ERROR(CheckRange("rank", options.rank, 0, options.world_size - 1));
  A8A_RETURN_IF_ERROR(CheckRange("channel_count", options.channel_count, 1, kMaxChannels));
  if (options.secret.size() <= kSecretBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("secret is ", options.secret.size(), " bytes long; at most ", kSecretBytesMax, " are allowed"));
}

absl::Status Differs(const Group& group, absl::string_view what, absl::string_view value,
                     absl::string_view began_with) {
  return absl::FailedPreconditionError(absl::StrCat("group \"", group.options.name, "\": this rank's ", what, " is ",
                                                    value, ", the group began with ", began_with));
}

absl::string_view KindName(DeviceKind kind) { return kind == DeviceKind::kHost ? "host" : "cuda"; }

// Whether a rank fits a group that was begun by another.
absl::Status CheckFits(const Group& group, const JoinOptions& options, DeviceKind kind) {
  if (!SecretsEqual(group.options.secret, options.secret)) {
    return absl::PermissionDeniedError(
        absl::StrCat("group \"", options.name, "\": the secret is not the one that the group began with"));
  }
  if (group.options.world_size != options.world_size) {
    return Differs(group, "world_size", absl::StrCat(options.world_size), absl::StrCat(group.options.world_size));
  }
  if (group.options.channel_count != options.channel_count) {
    return Differs(group, "channel_count", absl::StrCat(options.channel_count),
                   absl::StrCat(group.options.channel_count));
  }
  if (group.device_kind != kind) return Differs(group, "device kind", KindName(kind), KindName(group.device_kind));
  return absl::OkStatus();
}

absl::Status CheckFree(const Group& group, int rank, std::uint64_t session_id) {
  if (group.state != GroupState::kForming || group.completing) {
    return absl::AlreadyExistsError(absl::StrCat("group \"", group.options.name, "\" is complete"));
  }
  if (group.members[Index(rank)].has_value()) {
    return absl::AlreadyExistsError(absl::StrCat("group \"", group.options.name, "\": rank ", rank, " is taken"));
  }
  if (const auto own = group.RankOf(session_id); own.has_value()) {
    return absl::AlreadyExistsError(
        absl::StrCat("group \"", group.options.name, "\": session ", session_id, " already is rank ", *own));
  }
  return absl::OkStatus();
}

absl::Status NoGroup(std::uint64_t group_id) {
  return absl::NotFoundError(absl::StrCat("no group ", group_id, ": it never was, or all its ranks have left"));
}

}  // namespace

absl::StatusOr<Group*> Core::Impl::OpenGroupLocked(const Caller& caller, const JoinOptions& join, DeviceKind kind) {
  const std::pair<std::uint32_t, std::string> key(caller.identity.uid, join.name);
  if (const auto found = group_ids.find(key); found != group_ids.end()) {
    Group* group = &groups.at(found->second);
    A8A_RETURN_IF_ERROR(CheckFits(*group, join, kind));
    return group;
  }
  if (groups.size() >= static_cast<std::size_t>(options.group_max)) {
    return absl::ResourceExhaustedError(absl::StrCat("group \"", join.name, "\": the daemon has ", groups.size(),
                                                     " groups; its limit is ", options.group_max));
  }
  const std::uint64_t group_id = next_group_id++;
  Group& group = groups[group_id];
  group.group_id = group_id;
  group.uid = caller.identity.uid;
  group.options = join;
  group.device_kind = kind;
  group.members.resize(Index(join.world_size));
  group_ids[key] = group_id;
  return &group;
}

absl::StatusOr<Group*> Core::Impl::AddMemberLocked(const Caller& caller, std::uint64_t session_id,
                                                   const JoinOptions& join, JoinCallback callback, Deferred* after) {
  A8A_RETURN_IF_ERROR(FindSessionLocked(caller, session_id).status());
  A8A_RETURN_IF_ERROR(CheckNotDrainingLocked("groups"));
  A8A_ASSIGN_OR_RETURN(PoolDevice* const device, leases.FindDevice(join.device));
  A8A_ASSIGN_OR_RETURN(Group* const group, OpenGroupLocked(caller, join, device->provider->device().kind));
  A8A_RETURN_IF_ERROR(CheckFree(*group, join.rank, session_id));
  Member member;
  member.session_id = session_id;
  member.pid = caller.identity.pid;
  member.device = device;
  member.pending_id = next_pending_id++;
  member.callback = std::move(callback);
  pending[member.pending_id] = {.group_id = group->group_id, .rank = join.rank, .window_name = ""};
  group->members[Index(join.rank)] = std::move(member);
  Log("rank_joined",
      {{"group", absl::StrCat(group->group_id)},
       {"name", join.name},
       {"rank", absl::StrCat(join.rank)},
       {"world_size", absl::StrCat(join.world_size)},
       {"session", absl::StrCat(session_id)}},
      after);
  return group;
}

std::uint64_t Core::JoinGroup(const Caller& caller, std::uint64_t session_id, const JoinOptions& options,
                              JoinCallback callback) {
  if (const absl::Status status = CheckJoin(options); !status.ok()) {
    callback(status);
    return 0;
  }
  std::uint64_t group_id = 0;
  std::uint64_t pending_id = 0;
  bool complete = false;
  {
    Deferred after;
    const MutexLock lock(&impl_->mutex);
    const absl::StatusOr<Group*> group = impl_->AddMemberLocked(caller, session_id, options, callback, &after);
    if (!group.ok()) {
      after.Run([callback = std::move(callback), status = group.status()] { callback(status); });
      return 0;
    }
    group_id = (*group)->group_id;
    pending_id = (*group)->members[Index(options.rank)]->pending_id;
    complete = (*group)->member_count() == options.world_size;
    if (complete) (*group)->completing = true;
  }
  if (!complete) return pending_id;
  impl_->CompleteJoin(group_id);
  return 0;
}

void Core::Impl::CompleteJoin(std::uint64_t group_id) {
  Batch batch;
  kernels::ControlLayout layout = {};
  int block_count = 0;
  absl::Status status;
  {
    const MutexLock lock(&mutex);
    const Group& group = groups.at(group_id);  // stays while completing
    const int world_size = group.options.world_size;
    const int channel_count = group.options.channel_count;
    layout = {.world_size = world_size, .channel_count = channel_count};
    block_count = group.BlockCount();
    const kernels::FlagsLayout flags = {
        .world_size = world_size, .channel_count = channel_count, .block_count = block_count};
    std::vector<Reservation> wanted;
    for (int rank = 0; rank < world_size; ++rank) {
      const auto& member = group.members[Index(rank)];
      if (!member.has_value()) continue;
      wanted.push_back({.device = member->device,
                        .size_bytes = static_cast<std::int64_t>(flags.size_bytes()),
                        .session_id = member->session_id,
                        .name = "flags",
                        .group_id = group_id,
                        .rank = rank,
                        .uid = group.uid});
    }
    status = ReserveLocked(std::move(wanted), &batch);
  }
  std::shared_ptr<ControlSegment> control;
  if (status.ok()) status = AllocateAll(&batch);
  if (status.ok()) {
    auto created = ControlSegment::Create(group_id, layout, block_count);
    status = created.status();
    if (created.ok()) control = *std::move(created);
  }
  Deferred after;
  const MutexLock lock(&mutex);
  Group* group = &groups.at(group_id);
  if (status.ok()) status = group->ended_while_completing;
  if (status.ok()) status = MakeReadyLocked(group, &batch, std::move(control), &after);
  if (status.ok()) return;
  UnreserveLocked(&batch, &after);
  DissolveLocked(group, status, &after);
}

absl::Status Core::Impl::MakeReadyLocked(Group* group, Batch* batch, std::shared_ptr<ControlSegment> control,
                                         Deferred* after) {
  for (const auto& member : group->members) {
    A8A_RETURN_IF_ERROR(tickets.CheckRoom(member->session_id, group->options.world_size + 1, clock->Now()));
  }
  for (std::size_t rank = 0; rank < group->members.size(); ++rank) {
    const Lease& lease = leases.Commit(batch->reservations[rank], std::move(batch->allocations[rank]));
    group->members[rank]->flags_buffer_id = lease.buffer.buffer_id;
  }
  *batch = {};
  group->control = std::move(control);
  group->state = GroupState::kReady;
  group->completing = false;
  ++groups_total;
  for (auto& member : group->members) {
    pending.erase(member->pending_id);
    member->pending_id = 0;
    after->Run([callback = std::exchange(member->callback, nullptr),
                grant = GrantJoinLocked(*group, member->session_id)] { callback(grant); });
  }
  Log("group_ready",
      {{"group", absl::StrCat(group->group_id)},
       {"name", group->options.name},
       {"world_size", absl::StrCat(group->options.world_size)}},
      after);
  return absl::OkStatus();
}

JoinGrant Core::Impl::GrantJoinLocked(const Group& group, std::uint64_t session_id) {
  JoinGrant grant;
  grant.group = group.Info();
  grant.control = IssueLocked(session_id, group.control);
  for (const auto& member : group.members) {
    const Lease* lease = leases.Find(member->flags_buffer_id);
    grant.flags.push_back({lease->buffer, IssueLocked(session_id, lease->allocation)});
  }
  return grant;
}

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
  Log("group_dissolved", {{"group", absl::StrCat(group->group_id)}, {"why", std::string(status.message())}}, after);
  EraseGroupLocked(group, after);
}

void Core::Impl::FreeNameLocked(const Group& group) {
  const auto found = group_ids.find({group.uid, group.options.name});
  if (found != group_ids.end() && found->second == group.group_id) group_ids.erase(found);
}

void Core::Impl::EraseGroupLocked(Group* group, Deferred* after) {
  FreeNameLocked(*group);
  after->Drop(std::move(group->control));
  leases.ForgetGroup(group->group_id);
  Log("group_gone", {{"group", absl::StrCat(group->group_id)}}, after);
  groups.erase(group->group_id);
}

void Core::Impl::EndGroupLocked(Group* group, EndReason reason, int rank, const std::string& text, Deferred* after) {
  if (!group->CanEnd(reason)) return;
  group->state = GroupState::kAborted;
  group->end_reason = reason;
  group->end_rank = rank;
  group->end_text = text;
  FreeNameLocked(*group);
  // A rank that leaves has ended its all-to-alls; those of the others that do not need it go on.
  if (reason != EndReason::kRankLeft) group->control->Abort(reason, rank);
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
  if (group->end_reason == EndReason::kRankLeft) group->control->MarkLeft(rank);
  EraseLeaseLocked(member.flags_buffer_id, after);
  group->members[Index(rank)].reset();
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
