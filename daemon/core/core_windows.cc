#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "daemon/core/validation.h"
#include "kernels/base/index.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

bool NameTaken(const Group& group, absl::string_view name, int rank) {
  for (const auto& [index, window] : group.windows) {
    const auto& part = window.parts[Index(rank)];
    if (window.name == name && part.has_value() && !part->released) return true;
  }
  const auto forming = group.forming_windows.find(std::string(name));
  return forming != group.forming_windows.end() && forming->second.parts[Index(rank)].has_value();
}

bool AllParts(const GroupWindow& window) {
  return std::all_of(window.parts.begin(), window.parts.end(), [](const auto& part) { return part.has_value(); });
}

bool NoParts(const GroupWindow& window) {
  return std::none_of(window.parts.begin(), window.parts.end(), [](const auto& part) { return part.has_value(); });
}

absl::Status CheckWindowOptions(const WindowOptions& options, bool user_memory_allowed) {
  A8A_RETURN_IF_ERROR(CheckText("name", options.name, kMaxNameBytes, Emptiness::kRefused));
  A8A_RETURN_IF_ERROR(CheckRange("size_bytes", options.size_bytes, 1, kMaxBufferBytes));
  if (!options.user_memory.has_value()) return absl::OkStatus();
  if (!user_memory_allowed) {
    return absl::PermissionDeniedError(
        "windows on memory of a rank's own are off on this daemon: they take IPC handles, which whoever learns them "
        "can open; legacy_ipc = \"on\" allows them, and \"auto\" does where one uid only can connect (socket_mode, "
        "allowed_uids)");
  }
  const std::size_t handle_bytes = options.user_memory->ipc_handle.size();
  if (handle_bytes != kIpcHandleBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("user_memory.ipc_handle has ", handle_bytes, " bytes; it has ", kIpcHandleBytes));
  }
  return CheckRange("user_memory.offset_bytes", options.user_memory->offset_bytes, 0, kMaxBufferBytes);
}

}  // namespace

absl::StatusOr<GroupWindow*> Core::Impl::AddPartLocked(Group* group, int rank, const WindowOptions& wanted,
                                                       WindowCallback callback) {
  const std::string& name = wanted.name;
  if (group->state == GroupState::kAborted) return group->EndedStatus();
  if (group->state == GroupState::kForming) {
    return absl::NotFoundError(absl::StrCat("group ", group->group_id, " is not complete yet"));
  }
  if (wanted.user_memory.has_value() && group->device_kind != DeviceKind::kCuda) {
    return absl::InvalidArgumentError(
        absl::StrCat("user_memory: group ", group->group_id, " is on the host, and IPC handles are of GPU memory"));
  }
  if (NameTaken(*group, name, rank)) {
    return absl::AlreadyExistsError(
        absl::StrCat("group ", group->group_id, ": rank ", rank, " has registered window \"", name, "\" already"));
  }
  if (!group->forming_windows.contains(name)) {
    if (group->window_count() >= kMaxWindows) {
      return absl::ResourceExhaustedError(absl::StrCat("group ", group->group_id, " has ", group->window_count(),
                                                       " windows; the limit is ", kMaxWindows));
    }
    A8A_RETURN_IF_ERROR(CheckUidWindowsLocked(group->uid));
  }
  GroupWindow& window = group->forming_windows[name];
  window.name = name;
  window.parts.resize(Index(group->options.world_size));
  WindowPart part;
  part.size_bytes = wanted.size_bytes;
  part.user_memory = wanted.user_memory;
  part.pending_id = next_pending_id++;
  part.callback = std::move(callback);
  pending[part.pending_id] = {.group_id = group->group_id, .rank = rank, .window_name = window.name};
  window.parts[Index(rank)] = std::move(part);
  return &window;
}

std::uint64_t Core::RegisterWindow(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id,
                                   const WindowOptions& options, WindowCallback callback) {
  absl::Status status = CheckWindowOptions(options, impl_->options.policy().user_memory);
  std::uint64_t pending_id = 0;
  bool complete = false;
  if (status.ok()) {
    const MutexLock lock(&impl_->mutex);
    int rank = 0;
    const auto group = impl_->FindGroupOfRankLocked(caller, session_id, group_id, &rank);
    status = group.status();
    if (status.ok()) {
      const auto window = impl_->AddPartLocked(*group, rank, options, callback);
      status = window.status();
      if (window.ok()) {
        pending_id = (*window)->parts[Index(rank)]->pending_id;
        complete = AllParts(**window);
        (*window)->completing = complete;
      }
    }
  }
  if (!status.ok()) {
    callback(status);
    return 0;
  }
  if (!complete) return pending_id;
  impl_->CompleteWindow(group_id, options.name);
  return 0;
}

void Core::Impl::CompleteWindow(std::uint64_t group_id, const std::string& name) {
  Batch batch;
  absl::Status status;
  {
    const MutexLock lock(&mutex);
    // Either may have ended since the last rank came.
    const auto found = groups.find(group_id);
    if (found == groups.end() || !found->second.forming_windows.contains(name)) return;
    const Group& group = found->second;
    std::vector<Reservation> wanted;
    for (int rank = 0; rank < group.options.world_size; ++rank) {
      const Member& member = *group.members[Index(rank)];
      if (group.forming_windows.at(name).parts[Index(rank)]->user_memory.has_value()) continue;
      wanted.push_back({.device = member.device,
                        .size_bytes = group.forming_windows.at(name).parts[Index(rank)]->size_bytes,
                        .session_id = member.session_id,
                        .name = name,
                        .group_id = group_id,
                        .rank = rank,
                        .uid = group.uid});
    }
    status = ReserveLocked(std::move(wanted), &batch);
  }
  if (status.ok()) status = AllocateAll(&batch);
  Deferred after;
  const MutexLock lock(&mutex);
  const auto found = groups.find(group_id);
  // Ended meanwhile: whoever waited has been told.
  const bool ended = found == groups.end() || !found->second.forming_windows.contains(name);
  if (status.ok() && !ended) {
    for (const auto& member : found->second.members) {
      if (status.ok()) {
        status = tickets.CheckRoom(member->session_id, found->second.options.world_size, clock->Now());
      }
    }
  }
  if (status.ok() && !ended) return GrantWindowLocked(&found->second, name, &batch, &after);
  UnreserveLocked(&batch, &after);
  if (!ended) FailWindowLocked(&found->second, name, status, &after);
}

void Core::Impl::GrantWindowLocked(Group* group, const std::string& name, Batch* batch, Deferred* after) {
  const int index = *group->FreeWindowIndex();  // AddPartLocked keeps one free for every window on its way
  GroupWindow& window = group->windows[index] = std::move(group->forming_windows.at(name));
  group->forming_windows.erase(name);
  window.completing = false;
  std::size_t next = 0;  // of the batch, which has the parts on leases
  for (auto& part : window.parts) {
    if (part->user_memory.has_value()) continue;
    const Lease& lease = CommitLocked(batch->reservations[next], std::move(batch->allocations[next]), after);
    part->buffer_id = lease.buffer.buffer_id;
    part->size_bytes = lease.buffer.size_bytes;
    ++next;
  }
  *batch = {};
  ChangedLocked(after);  // a window on memory of the ranks' own has no lease
  for (std::size_t rank = 0; rank < window.parts.size(); ++rank) {
    WindowGrant grant;
    grant.window_index = index;
    for (std::size_t owner = 0; owner < window.parts.size(); ++owner) {
      grant.buffers.push_back(GrantPartLocked(*group, window, owner, group->members[rank]->session_id));
    }
    pending.erase(window.parts[rank]->pending_id);
    window.parts[rank]->pending_id = 0;
    after->Run([callback = std::exchange(window.parts[rank]->callback, nullptr), grant = std::move(grant)] {
      callback(grant);
    });
  }
  Log("window_registered", {{"group", absl::StrCat(group->group_id)}, {"window", absl::StrCat(index)}, {"name", name}},
      after);
}

LeaseGrant Core::Impl::GrantPartLocked(const Group& group, const GroupWindow& window, std::size_t owner,
                                       std::uint64_t session_id) {
  const WindowPart& part = *window.parts[owner];
  if (!part.user_memory.has_value()) {
    const Lease& lease = *leases.Find(part.buffer_id);
    return {.buffer = lease.buffer, .ticket = IssueLocked(session_id, lease.allocation)};
  }
  const Member& member = *group.members[owner];
  LeaseGrant grant;
  grant.buffer.device = member.device->provider->device().name;
  grant.buffer.size_bytes = part.size_bytes;
  grant.buffer.session_id = member.session_id;
  grant.buffer.name = window.name;
  grant.buffer.group_id = group.group_id;
  grant.user_memory = part.user_memory;
  return grant;
}

void Core::Impl::FailPartLocked(Group* group, const std::string& name, int rank, const absl::Status& status,
                                Deferred* after) {
  GroupWindow& window = group->forming_windows.at(name);
  WindowPart& part = *window.parts[Index(rank)];
  pending.erase(part.pending_id);
  after->Run([callback = std::move(part.callback), status] { callback(status); });
  window.parts[Index(rank)].reset();
  if (NoParts(window)) group->forming_windows.erase(name);
}

void Core::Impl::FailWindowLocked(Group* group, const std::string& name, const absl::Status& status, Deferred* after) {
  for (int rank = 0; rank < group->options.world_size; ++rank) {
    const auto window = group->forming_windows.find(name);
    if (window == group->forming_windows.end()) return;
    if (window->second.parts[Index(rank)].has_value()) FailPartLocked(group, name, rank, status, after);
  }
}

void Core::Impl::FailFormingWindowsLocked(Group* group, const absl::Status& status, Deferred* after) {
  while (!group->forming_windows.empty()) {
    const std::string name = group->forming_windows.begin()->first;
    FailWindowLocked(group, name, status, after);
  }
}

void Core::Impl::ReleasePartLocked(Group* group, int window_index, int rank, Deferred* after) {
  GroupWindow& window = group->windows.at(window_index);
  window.parts[Index(rank)]->released = true;
  ChangedLocked(after);
  const bool held =
      std::any_of(window.parts.begin(), window.parts.end(), [](const auto& part) { return !part->released; });
  if (held) return;
  for (const auto& part : window.parts) {
    if (leases.Find(part->buffer_id) != nullptr) EraseLeaseLocked(part->buffer_id, after);
  }
  Log("window_released", {{"group", absl::StrCat(group->group_id)}, {"window", absl::StrCat(window_index)}}, after);
  group->windows.erase(window_index);
}

absl::Status Core::ReleaseWindow(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id,
                                 int window_index) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  int rank = 0;
  A8A_ASSIGN_OR_RETURN(Group* const group, impl_->FindGroupOfRankLocked(caller, session_id, group_id, &rank));
  const auto window = group->windows.find(window_index);
  if (window == group->windows.end() || window->second.parts[Index(rank)]->released) {
    return absl::NotFoundError(absl::StrCat("group ", group_id, ": rank ", rank, " holds no window ", window_index));
  }
  impl_->ReleasePartLocked(group, window_index, rank, &after);
  return absl::OkStatus();
}

}  // namespace a8a::daemon
