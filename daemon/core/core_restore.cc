// How a daemon's state outlives it: saved with every change before anybody is told of it, taken up by the next daemon,
// and made whole again by the clients, who hand back the descriptors of what they hold.
//
// Until then a lease counts but has no descriptor, and a group has no control segment: what was to be written into it
// is what the group's own state says, and is written when it comes (SetControlLocked).
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "daemon/core/core_state.h"
#include "kernels/base/index.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

SessionState ExportSession(const Session& session, std::int64_t peak) {
  return {.session_id = session.info.session_id,
          .client_name = session.info.client_name,
          .identity = session.info.identity,
          .told_to_drain = session.told_to_drain,
          .leased_bytes_peak = peak,
          .revoked = session.revoked};
}

WindowState ExportWindow(int index, const GroupWindow& window) {
  WindowState state = {.window_index = index, .name = window.name, .parts = {}};
  for (const auto& part : window.parts) {
    state.parts.push_back({.size_bytes = part->size_bytes,
                           .buffer_id = part->buffer_id,
                           .user_memory = part->user_memory,
                           .released = part->released});
  }
  return state;
}

GroupRecord ExportGroup(const Group& group, const LeaseTable& leases) {
  GroupRecord record;
  record.group_id = group.group_id;
  record.uid = group.uid;
  record.name = group.options.name;
  record.world_size = group.options.world_size;
  record.channel_count = group.options.channel_count;
  record.device_kind = group.device_kind;
  record.ended = group.state == GroupState::kAborted;
  record.end_reason = group.end_reason;
  record.end_rank = group.end_rank;
  record.end_text = group.end_text;
  record.control_file = group.control_file;
  for (int rank = 0; rank < record.world_size; ++rank) {
    const auto& member = group.members[Index(rank)];
    if (!member.has_value()) continue;
    record.members.push_back({.rank = rank,
                              .session_id = member->session_id,
                              .pid = member->pid,
                              .flags_buffer_id = member->flags_buffer_id,
                              .leased_bytes_peak = leases.RankAccount(group.group_id, rank).bytes_peak});
  }
  for (const auto& [index, window] : group.windows) record.windows.push_back(ExportWindow(index, window));
  return record;
}

absl::Status Contradiction(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the state contradicts itself: ", what));
}

// Checks that nothing in a state names what is not there, so that nothing that is built from it can either. A
// snapshot's checksum says that it is what was written; this does not rely on it.
class StateCheck {
 public:
  explicit StateCheck(const CoreState& state) : state_(state) {}

  absl::Status Run() {
    for (const SessionState& session : state_.sessions) {
      if (session.session_id == 0 || session.session_id >= state_.next_session_id ||
          !sessions_.insert(session.session_id).second) {
        return Contradiction(absl::StrCat("session ", session.session_id));
      }
    }
    for (const LeaseState& lease : state_.leases) A8A_RETURN_IF_ERROR(CheckLease(lease));
    std::set<std::uint64_t> groups;
    for (const GroupRecord& group : state_.groups) {
      if (group.group_id == 0 || group.group_id >= state_.next_group_id || !groups.insert(group.group_id).second) {
        return Contradiction(absl::StrCat("group ", group.group_id));
      }
      A8A_RETURN_IF_ERROR(CheckGroup(group));
    }
    for (const auto& [buffer_id, lease] : leases_) {
      const std::uint64_t group_id = lease->buffer.group_id;
      if (group_id != 0 && !used_.contains(buffer_id)) return Contradiction(absl::StrCat("buffer ", buffer_id));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CheckLease(const LeaseState& lease) {
    const BufferInfo& buffer = lease.buffer;
    if (buffer.buffer_id == 0 || buffer.buffer_id >= state_.next_buffer_id || buffer.generation == 0 ||
        buffer.generation >= state_.next_generation || buffer.size_bytes < 1 || buffer.size_bytes > kMaxBufferBytes ||
        !sessions_.contains(buffer.session_id) || !leases_.emplace(buffer.buffer_id, &lease).second) {
      return Contradiction(absl::StrCat("buffer ", buffer.buffer_id));
    }
    total_bytes_ += buffer.size_bytes;
    // Far above what any machine has, and far below what could overflow an account.
    if (total_bytes_ > kMaxBufferBytes * 64) return Contradiction("leases of more memory than there is");
    return absl::OkStatus();
  }

  absl::Status CheckGroup(const GroupRecord& group) {
    const absl::Status wrong = Contradiction(absl::StrCat("group ", group.group_id));
    if (group.world_size < 1 || group.world_size > kMaxWorldSize || group.channel_count < 1 ||
        group.channel_count > kMaxChannels || group.members.empty()) {
      return wrong;
    }
    // A group that has lost a rank has ended.
    if (!group.ended && group.members.size() != Index(group.world_size)) return wrong;
    if (group.end_rank < -1 || group.end_rank >= group.world_size) return wrong;
    if (!group.ended && !names_.emplace(group.uid, group.name).second) return wrong;
    std::set<int> ranks;
    std::set<std::uint64_t> members;
    for (const MemberState& member : group.members) {
      if (member.rank < 0 || member.rank >= group.world_size || !ranks.insert(member.rank).second ||
          !members.insert(member.session_id).second || !sessions_.contains(member.session_id) ||
          !UseLease(group, member.rank, member.flags_buffer_id, member.session_id)) {
        return wrong;
      }
    }
    std::set<int> indices;
    for (const WindowState& window : group.windows) {
      if (window.window_index < 0 || window.window_index >= kMaxWindows ||
          !indices.insert(window.window_index).second || !CheckParts(group, window)) {
        return wrong;
      }
    }
    return absl::OkStatus();
  }

  bool CheckParts(const GroupRecord& group, const WindowState& window) {
    if (window.parts.size() != Index(group.world_size)) return false;
    if (std::all_of(window.parts.begin(), window.parts.end(), [](const auto& part) { return part.released; })) {
      return false;
    }
    for (int rank = 0; rank < group.world_size; ++rank) {
      const WindowPartState& part = window.parts[Index(rank)];
      if (part.user_memory.has_value() || part.buffer_id == 0) continue;
      // The lease of a rank whose session is gone may be gone as well.
      const auto lease = leases_.find(part.buffer_id);
      if (lease == leases_.end()) {
        if (!part.released) return false;
      } else if (!UseLease(group, rank, part.buffer_id, lease->second->buffer.session_id)) {
        return false;
      }
    }
    return true;
  }

  // Whether the lease is of that rank of the group, and of nothing else.
  bool UseLease(const GroupRecord& group, int rank, std::uint64_t buffer_id, std::uint64_t session_id) {
    const auto lease = leases_.find(buffer_id);
    return lease != leases_.end() && lease->second->buffer.group_id == group.group_id && lease->second->rank == rank &&
           lease->second->buffer.session_id == session_id && used_.insert(buffer_id).second;
  }

  const CoreState& state_;
  std::set<std::uint64_t> sessions_;
  std::map<std::uint64_t, const LeaseState*> leases_;
  std::set<std::uint64_t> used_;  // leases of groups
  std::set<std::pair<std::uint32_t, std::string>> names_;
  std::int64_t total_bytes_ = 0;
};

GroupWindow RestoreWindow(const WindowState& state) {
  GroupWindow window;
  window.name = state.name;
  for (const WindowPartState& from : state.parts) {
    WindowPart part;
    part.size_bytes = from.size_bytes;
    part.buffer_id = from.buffer_id;
    part.user_memory = from.user_memory;
    part.released = from.released;
    window.parts.emplace_back(std::move(part));
  }
  return window;
}

}  // namespace

std::string BufferKey(std::uint64_t buffer_id) { return absl::StrCat("buffer-", buffer_id); }
std::string ControlKey(std::uint64_t group_id) { return absl::StrCat("control-", group_id); }
std::string SessionKey(std::uint64_t session_id) { return absl::StrCat("session-", session_id); }

void Core::Impl::ChangedLocked(Deferred* after) {
  ++change_count;
  if (options.keeper == nullptr || let_go) return;
  after->Save([this, change = change_count] { Save(change); });
}

void Core::Impl::KeepLocked(std::string key, std::shared_ptr<Allocation> allocation, Deferred* after) {
  if (options.keeper == nullptr || let_go) return;
  after->Keep([keeper = options.keeper, key = std::move(key), allocation = std::move(allocation)] {
    keeper->Keep(key, allocation->fd());
  });
}

void Core::Impl::DropLocked(std::string key, Deferred* after) {
  if (options.keeper == nullptr || let_go) return;
  after->Run([keeper = options.keeper, key = std::move(key)] { keeper->Drop(key); });
}

// Changes that come while a state is being saved are saved together by whoever comes next.
void Core::Impl::Save(std::uint64_t change) {
  const MutexLock saving(&save_mutex);
  CoreState state;
  {
    const MutexLock lock(&mutex);
    if (saved_change >= change || let_go) return;
    saved_change = change_count;
    state = ExportLocked();
  }
  options.keeper->Save(state);
}

CoreState Core::Impl::ExportLocked() {
  CoreState state;
  state.state_id = state_id;
  state.next_session_id = next_session_id;
  state.next_group_id = next_group_id;
  state.next_buffer_id = leases.next_buffer_id();
  state.next_generation = leases.next_generation();
  state.sessions_total = counters.sessions_total;
  state.groups_total = counters.groups_total;
  state.sessions_died_total = counters.sessions_died_total;
  std::map<std::string, std::string> uuids;
  for (const PoolDevice& device : leases.devices()) {
    const DeviceInfo& info = device.provider->device();
    uuids[info.name] = info.uuid;
    state.devices.push_back({info.name, info.uuid, device.account.bytes_peak});
  }
  for (const auto& [session_id, session] : sessions) {
    state.sessions.push_back(ExportSession(session, leases.SessionAccount(session_id).bytes_peak));
  }
  for (const auto& [buffer_id, lease] : leases.leases()) {
    state.leases.push_back({lease.buffer, uuids[lease.buffer.device], lease.uid, lease.rank, lease.file});
  }
  for (const auto& [group_id, group] : groups) {
    if (group.state != GroupState::kForming) state.groups.push_back(ExportGroup(group, leases));
  }
  return state;
}

CoreState Core::Export() const {
  const MutexLock lock(&impl_->mutex);
  return impl_->ExportLocked();
}

std::uint64_t Core::state_id() const {
  const MutexLock lock(&impl_->mutex);
  return impl_->state_id;
}

void Core::Impl::SetControlLocked(Group* group, std::shared_ptr<ControlSegment> control) {
  group->control = std::move(control);
  group->traffic_before = group->control->ReadTraffic();
  if (group->state != GroupState::kAborted) return;
  if (group->end_reason != EndReason::kRankLeft) {
    group->control->Abort(group->end_reason, group->end_rank);
    return;
  }
  for (int rank = 0; rank < group->options.world_size; ++rank) {
    if (!group->members[Index(rank)].has_value()) group->control->MarkLeft(rank);
  }
}

void Core::Impl::RestoreGroupLocked(const GroupRecord& record, KeptDescriptors* kept) {
  Group& group = groups[record.group_id];
  group.group_id = record.group_id;
  group.uid = record.uid;
  group.options.name = record.name;
  group.options.world_size = record.world_size;
  group.options.channel_count = record.channel_count;
  group.device_kind = record.device_kind;
  group.state = record.ended ? GroupState::kAborted : GroupState::kReady;
  group.end_reason = record.end_reason;
  group.end_rank = record.end_rank;
  group.end_text = record.end_text;
  group.control_file = record.control_file;
  group.members.resize(Index(record.world_size));
  for (const MemberState& from : record.members) {
    Member member;
    member.session_id = from.session_id;
    member.pid = from.pid;
    member.flags_buffer_id = from.flags_buffer_id;
    member.claimed = false;
    member.device = *leases.FindDevice(leases.Find(from.flags_buffer_id)->buffer.device);
    leases.RestoreRankPeak(record.group_id, from.rank, from.leased_bytes_peak);
    group.members[Index(from.rank)] = std::move(member);
  }
  for (const WindowState& window : record.windows) group.windows[window.window_index] = RestoreWindow(window);
  if (!record.ended) group_ids[{record.uid, record.name}] = record.group_id;
  const auto control_fd = kept->find(ControlKey(record.group_id));
  if (control_fd == kept->end()) return;
  auto control =
      ControlSegment::Adopt(record.group_id, group.control_layout(), &control_fd->second, record.control_file);
  if (!control.ok()) return;
  kept->erase(control_fd);
  SetControlLocked(&group, *std::move(control));
}

void Core::Impl::RestoreCountersLocked(const CoreState& state) {
  state_id = state.state_id;
  next_session_id = state.next_session_id;
  next_group_id = state.next_group_id;
  leases.RestoreIds(state.next_buffer_id, state.next_generation);
  counters.sessions_total = state.sessions_total;
  counters.groups_total = state.groups_total;
  counters.sessions_died_total = state.sessions_died_total;
  for (const DeviceState& device : state.devices) {
    PoolDevice* const found = leases.FindRecorded(device.name, device.uuid);
    if (found != nullptr) leases.RestoreDevicePeak(found, device.leased_bytes_peak);
  }
}

SessionInfo Core::Impl::RestoreSessionLocked(const SessionState& from) {
  Session session;
  session.info = {.session_id = from.session_id,
                  .client_name = from.client_name,
                  .identity = from.identity,
                  .stream_open = false,
                  .hands_back = true};
  session.told_to_drain = from.told_to_drain;
  session.revoked = from.revoked;
  leases.RestoreSessionPeak(from.session_id, from.leased_bytes_peak);
  return sessions.emplace(from.session_id, std::move(session)).first->second.info;
}

void Core::Impl::RestoreLeaseLocked(const LeaseState& lease, KeptDescriptors* kept) {
  std::shared_ptr<Allocation> allocation;
  PoolDevice* const device = leases.FindRecorded(lease.buffer.device, lease.device_uuid);
  if (const auto fd = kept->find(BufferKey(lease.buffer.buffer_id)); fd != kept->end()) {
    // Under the lock, though it may block: nothing else runs yet.
    auto adopted = device->provider->Adopt(&fd->second, lease.buffer.size_bytes, lease.file);
    if (adopted.ok()) {
      allocation = *std::move(adopted);
      kept->erase(fd);
    }
  }
  leases.Restore(lease, std::move(allocation));
}

absl::StatusOr<std::vector<SessionInfo>> Core::Restore(const CoreState& state, KeptDescriptors* kept) {
  A8A_RETURN_IF_ERROR(StateCheck(state).Run());
  const MutexLock lock(&impl_->mutex);
  for (const LeaseState& lease : state.leases) {
    if (impl_->leases.FindRecorded(lease.buffer.device, lease.device_uuid) != nullptr) continue;
    return absl::FailedPreconditionError(absl::StrCat("buffer ", lease.buffer.buffer_id, " lies on device ",
                                                      lease.buffer.device, " (", lease.device_uuid,
                                                      "), which is not there any more"));
  }
  impl_->RestoreCountersLocked(state);
  std::vector<SessionInfo> restored;
  for (const SessionState& session : state.sessions) restored.push_back(impl_->RestoreSessionLocked(session));
  for (const LeaseState& lease : state.leases) impl_->RestoreLeaseLocked(lease, kept);
  for (const GroupRecord& record : state.groups) impl_->RestoreGroupLocked(record, kept);
  return restored;
}

void Core::ExpectResume(std::uint64_t session_id, absl::Time deadline) {
  const MutexLock lock(&impl_->mutex);
  const auto session = impl_->sessions.find(session_id);
  if (session != impl_->sessions.end() && session->second.outbox == nullptr) session->second.resume_by = deadline;
}

void Core::Impl::EndUnresumedLocked(absl::Time now, Deferred* after) {
  std::vector<std::uint64_t> unresumed;
  for (const auto& [session_id, session] : sessions) {
    if (now >= session.resume_by) unresumed.push_back(session_id);
  }
  for (const std::uint64_t session_id : unresumed) {
    Log("session_not_resumed", {{"session", absl::StrCat(session_id)}}, after);
    EndSessionLocked(session_id, EndReason::kRankDied,
                     absl::UnavailableError(absl::StrCat("session ", session_id, " was not resumed")), after);
  }
}

absl::Status Core::Impl::CheckHandsBackLocked(const Identity& identity, std::uint64_t session_id) {
  A8A_ASSIGN_OR_RETURN(const Session* const session,
                       FindSessionLocked(Caller{.identity = identity, .administrator = false}, session_id));
  if (session->info.hands_back) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("session ", session_id, " has nothing to hand back"));
}

bool Core::HandsBack(const Identity& identity, std::uint64_t session_id) const {
  const MutexLock lock(&impl_->mutex);
  return impl_->CheckHandsBackLocked(identity, session_id).ok();
}

absl::Status Core::HandBackBuffer(const Identity& identity, std::uint64_t session_id, std::uint64_t buffer_id,
                                  std::uint64_t generation, UniqueFd* fd) {
  PoolDevice* device = nullptr;
  std::int64_t size_bytes = 0;
  FileId file;
  // The lease, if it is the session's and waits.
  const auto find = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(impl_->mutex) -> absl::StatusOr<Lease*> {
    A8A_RETURN_IF_ERROR(impl_->CheckHandsBackLocked(identity, session_id));
    Lease* const lease = impl_->leases.Find(buffer_id);
    if (lease != nullptr && lease->buffer.generation == generation && lease->buffer.session_id == session_id) {
      return lease;
    }
    return absl::NotFoundError(
        absl::StrCat("session ", session_id, " has no lease of buffer ", buffer_id, " of generation ", generation));
  };
  {
    const MutexLock lock(&impl_->mutex);
    A8A_ASSIGN_OR_RETURN(Lease* const lease, find());
    if (lease->allocation != nullptr) {
      lease->claimed = true;
      return absl::OkStatus();
    }
    device = *impl_->leases.FindDevice(lease->buffer.device);
    size_bytes = lease->buffer.size_bytes;
    file = lease->file;
  }
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<Allocation> allocation, device->provider->Adopt(fd, size_bytes, file));
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  // It may have ended meanwhile.
  const absl::StatusOr<Lease*> lease = find();
  if (!lease.ok()) {
    after.Drop(std::move(allocation));
    return lease.status();
  }
  (*lease)->allocation = std::move(allocation);
  (*lease)->claimed = true;
  impl_->KeepLocked(BufferKey(buffer_id), (*lease)->allocation, &after);
  return absl::OkStatus();
}

absl::Status Core::HandBackControl(const Identity& identity, std::uint64_t session_id, std::uint64_t group_id,
                                   UniqueFd* fd) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  A8A_RETURN_IF_ERROR(impl_->CheckHandsBackLocked(identity, session_id));
  int rank = 0;
  A8A_ASSIGN_OR_RETURN(Group* const group, impl_->FindGroupOfRankLocked({.identity = identity, .administrator = false},
                                                                        session_id, group_id, &rank));
  if (group->control == nullptr) {
    A8A_ASSIGN_OR_RETURN(std::shared_ptr<ControlSegment> control,
                         ControlSegment::Adopt(group_id, group->control_layout(), fd, group->control_file));
    impl_->SetControlLocked(group, std::move(control));
    impl_->KeepLocked(ControlKey(group_id), group->control, &after);
  }
  group->members[Index(rank)]->claimed = true;
  return absl::OkStatus();
}

absl::Status Core::HandBackDone(const Identity& identity, std::uint64_t session_id) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  A8A_RETURN_IF_ERROR(impl_->CheckHandsBackLocked(identity, session_id));
  impl_->DropUnclaimedLocked(session_id, &after);
  impl_->sessions.at(session_id).info.hands_back = false;
  const Account account = impl_->leases.SessionAccount(session_id);
  impl_->Log("session_handed_back",
             {{"session", absl::StrCat(session_id)},
              {"buffers", absl::StrCat(account.lease_count)},
              {"size_bytes", absl::StrCat(account.bytes)}},
             &after);
  return absl::OkStatus();
}

void Core::Impl::DropUnclaimedLocked(std::uint64_t session_id, Deferred* after) {
  std::vector<std::uint64_t> unclaimed_groups;
  for (const auto& [group_id, group] : groups) {
    const std::optional<int> rank = group.RankOf(session_id);
    if (rank.has_value() && !group.members[Index(*rank)]->claimed) unclaimed_groups.push_back(group_id);
  }
  for (const std::uint64_t group_id : unclaimed_groups) {
    Group* const group = &groups.at(group_id);
    RemoveRankLocked(group, *group->RankOf(session_id), EndReason::kRankLeft, after);
  }
  std::vector<std::uint64_t> unclaimed;
  for (const auto& [buffer_id, lease] : leases.leases()) {
    if (lease.buffer.session_id == session_id && !lease.claimed) unclaimed.push_back(buffer_id);
  }
  for (const std::uint64_t buffer_id : unclaimed) {
    // One may have taken others with it.
    if (const Lease* const lease = leases.Find(buffer_id); lease != nullptr) ReleaseUnclaimedLocked(*lease, after);
  }
}

void Core::Impl::ReleaseUnclaimedLocked(const Lease& lease, Deferred* after) {
  const std::uint64_t buffer_id = lease.buffer.buffer_id;
  const auto group = groups.find(lease.buffer.group_id);
  if (group == groups.end()) {
    EraseLeaseLocked(buffer_id, after);
    return;
  }
  const auto holds = [&](const auto& entry) { return entry.second.parts[Index(lease.rank)]->buffer_id == buffer_id; };
  const auto window = std::find_if(group->second.windows.begin(), group->second.windows.end(), holds);
  // Flags are claimed with their rank; parts that were released already wait for the other ranks'.
  if (window == group->second.windows.end() || window->second.parts[Index(lease.rank)]->released) return;
  ReleasePartLocked(&group->second, window->first, lease.rank, after);
}

void Core::Impl::FailPendingLocked(const absl::Status& status, Deferred* after) {
  std::vector<Group*> forming;
  for (auto& [group_id, group] : groups) {
    FailFormingWindowsLocked(&group, status, after);
    if (group.completing) {
      group.ended_while_completing = status;
    } else if (group.state == GroupState::kForming) {
      forming.push_back(&group);
    }
  }
  for (Group* const group : forming) DissolveLocked(group, status, after);
}

void Core::Impl::LetGoLocked(Deferred* after) {
  let_go = true;
  const absl::Status status = absl::UnavailableError("the daemon restarts; try again");
  FailPendingLocked(status, after);
  for (const auto& [session_id, session] : sessions) SendLocked(session_id, SessionEndedEvent{status}, after);
  // Groups that complete at this moment find their end when they look.
  std::erase_if(groups, [after](auto& entry) {
    if (entry.second.completing) return false;
    after->Drop(std::move(entry.second.control));
    return true;
  });
  group_ids.clear();
  sessions.clear();
  for (std::shared_ptr<Allocation>& allocation : leases.Clear()) after->Drop(std::move(allocation));
}

void Core::LetGo() {
  Deferred after;
  // What others have changed and not saved yet is saved here; they find it done.
  const MutexLock saving(&impl_->save_mutex);
  CoreState state;
  {
    const MutexLock lock(&impl_->mutex);
    state = impl_->ExportLocked();
    impl_->LetGoLocked(&after);
  }
  if (impl_->options.keeper != nullptr) impl_->options.keeper->Save(state);
}

}  // namespace a8a::daemon
