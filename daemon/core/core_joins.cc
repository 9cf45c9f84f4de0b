// Ranks come together: a group forms under its name, and is ready, with its memory, once all have come.
//
// The rank that comes last completes the group on its own thread, in three parts: reserve under the lock, allocate
// without it, commit under it again. In between `completing` keeps the group where it is, and whoever would end it
// leaves the reason in `ended_while_completing`.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "daemon/core/validation.h"
#include "kernels/base/index.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/flags_layout.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

constexpr int kSecretBytesMax = 64;

absl::Status CheckJoin(const JoinOptions& options) {
  A8A_RETURN_IF_ERROR(CheckText("name", options.name, kMaxNameBytes, Emptiness::kRefused));
  A8A_RETURN_IF_ERROR(CheckRange("world_size", options.world_size, 1, kMaxWorldSize));
  A8A_RETURN_IF_ERROR(CheckRange("rank", options.rank, 0, options.world_size - 1));
  A8A_RETURN_IF_ERROR(CheckRange("channel_count", options.channel_count, 1, kMaxChannels));
  A8A_RETURN_IF_ERROR(CheckText("device", options.device, kMaxNameBytes, Emptiness::kAllowed));
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

}  // namespace

absl::StatusOr<Group*> Core::Impl::OpenGroupLocked(const Caller& caller, const JoinOptions& join, DeviceKind kind) {
  const std::pair<std::uint32_t, std::string> key(caller.identity.uid, join.name);
  // Names are free again as soon as a group has ended, so this one forms or runs.
  if (const auto found = group_ids.find(key); found != group_ids.end()) {
    Group* group = &groups.at(found->second);
    // One that is complete takes nobody, whether or not it would fit; and of one that an earlier daemon made the secret
    // is not known any more.
    if (group->state == GroupState::kForming) A8A_RETURN_IF_ERROR(CheckFits(*group, join, kind));
    return group;
  }
  if (groups.size() >= static_cast<std::size_t>(options.group_max)) {
    return RefusedLocked(Limit::kGroups, absl::ResourceExhaustedError(
                                             absl::StrCat("group \"", join.name, "\": the daemon has ", groups.size(),
                                                          " groups; its limit is ", options.group_max)));
  }
  A8A_RETURN_IF_ERROR(CheckUidGroupsLocked(caller.identity.uid));
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
    // Under the same lock as the joining itself: one rank and no other finds the group complete.
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
    layout = group.control_layout();
    block_count = group.BlockCount();
    const kernels::FlagsLayout flags = {
        .world_size = world_size, .channel_count = channel_count, .block_count = block_count};
    std::vector<Reservation> wanted;
    for (int rank = 0; rank < world_size; ++rank) {
      const auto& member = group.members[Index(rank)];
      if (!member.has_value()) continue;  // it died since; the others are told at the end
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
  // Before anything is changed: from here on nothing fails.
  for (const auto& member : group->members) {
    A8A_RETURN_IF_ERROR(tickets.CheckRoom(member->session_id, group->options.world_size + 1, clock->Now()));
  }
  for (std::size_t rank = 0; rank < group->members.size(); ++rank) {
    const Lease& lease = CommitLocked(batch->reservations[rank], std::move(batch->allocations[rank]), after);
    group->members[rank]->flags_buffer_id = lease.buffer.buffer_id;
  }
  *batch = {};
  group->control = std::move(control);
  group->control_file = group->control->file_id();
  KeepLocked(ControlKey(group->group_id), group->control, after);
  group->state = GroupState::kReady;
  group->completing = false;
  ++counters.groups_total;
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

}  // namespace a8a::daemon
