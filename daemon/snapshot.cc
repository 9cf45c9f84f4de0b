#include "daemon/snapshot.h"

#include <zlib.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "daemon/snapshot.pb.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

constexpr char kMagic[8] = {'a', '8', 'a', 's', 't', 'a', 't', 'e'};
// To be raised with every change that an older or younger daemon would misread.
constexpr std::uint32_t kVersion = 1;

std::uint32_t Checksum(absl::string_view bytes) {
  return static_cast<std::uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

void ToProto(const FileId& file, state::File* message) {
  message->set_device(file.device);
  message->set_inode(file.inode);
}

FileId FromProto(const state::File& message) { return {.device = message.device(), .inode = message.inode()}; }

void ToProto(const SessionState& session, state::Session* message) {
  message->set_session_id(session.session_id);
  message->set_client_name(session.client_name);
  message->set_uid(session.identity.uid);
  message->set_gid(session.identity.gid);
  message->set_pid(session.identity.pid);
  message->set_start_ticks(session.identity.start_ticks);
  message->set_told_to_drain(session.told_to_drain);
  message->set_leased_bytes_peak(session.leased_bytes_peak);
  for (const BufferRevokedEvent& event : session.revoked) {
    state::Revocation* const revocation = message->add_revoked();
    revocation->set_buffer_id(event.buffer_id);
    revocation->set_generation(event.generation);
    revocation->set_reason(static_cast<std::uint32_t>(event.reason));
  }
}

void ToProto(const LeaseState& lease, state::Lease* message) {
  message->set_buffer_id(lease.buffer.buffer_id);
  message->set_generation(lease.buffer.generation);
  message->set_device(lease.buffer.device);
  message->set_device_uuid(lease.device_uuid);
  message->set_size_bytes(lease.buffer.size_bytes);
  message->set_session_id(lease.buffer.session_id);
  message->set_name(lease.buffer.name);
  message->set_group_id(lease.buffer.group_id);
  message->set_uid(lease.uid);
  message->set_rank(lease.rank);
  ToProto(lease.file, message->mutable_file());
}

void ToProto(const MemberState& member, state::Member* message) {
  message->set_rank(member.rank);
  message->set_session_id(member.session_id);
  message->set_pid(member.pid);
  message->set_flags_buffer_id(member.flags_buffer_id);
  message->set_leased_bytes_peak(member.leased_bytes_peak);
}

void ToProto(const WindowState& window, state::Window* message) {
  message->set_window_index(window.window_index);
  message->set_name(window.name);
  for (const WindowPartState& part : window.parts) {
    state::WindowPart* const to = message->add_parts();
    to->set_size_bytes(part.size_bytes);
    to->set_buffer_id(part.buffer_id);
    to->set_released(part.released);
    if (!part.user_memory.has_value()) continue;
    to->mutable_user_memory()->set_ipc_handle(part.user_memory->ipc_handle);
    to->mutable_user_memory()->set_offset_bytes(part.user_memory->offset_bytes);
  }
}

void ToProto(const GroupRecord& group, state::Group* message) {
  message->set_group_id(group.group_id);
  message->set_uid(group.uid);
  message->set_name(group.name);
  message->set_world_size(group.world_size);
  message->set_channel_count(group.channel_count);
  message->set_device_kind(static_cast<std::uint32_t>(group.device_kind));
  message->set_ended(group.ended);
  message->set_end_reason(static_cast<std::uint32_t>(group.end_reason));
  message->set_end_rank(group.end_rank);
  message->set_end_text(group.end_text);
  for (const MemberState& member : group.members) ToProto(member, message->add_members());
  for (const WindowState& window : group.windows) ToProto(window, message->add_windows());
  ToProto(group.control_file, message->mutable_control_file());
}

void ToProto(const CoreState& state, state::Snapshot* message) {
  message->set_state_id(state.state_id);
  message->set_next_session_id(state.next_session_id);
  message->set_next_group_id(state.next_group_id);
  message->set_next_buffer_id(state.next_buffer_id);
  message->set_next_generation(state.next_generation);
  message->set_sessions_total(state.sessions_total);
  message->set_groups_total(state.groups_total);
  message->set_sessions_died_total(state.sessions_died_total);
  for (const DeviceState& device : state.devices) {
    state::Device* const to = message->add_devices();
    to->set_name(device.name);
    to->set_uuid(device.uuid);
    to->set_leased_bytes_peak(device.leased_bytes_peak);
  }
  for (const SessionState& session : state.sessions) ToProto(session, message->add_sessions());
  for (const LeaseState& lease : state.leases) ToProto(lease, message->add_leases());
  for (const GroupRecord& group : state.groups) ToProto(group, message->add_groups());
}

absl::StatusOr<EndReason> ReasonFromProto(std::uint32_t reason) {
  for (const EndReason known : {EndReason::kRankDied, EndReason::kAbortedByRank, EndReason::kRankLeft,
                                EndReason::kRevoked, EndReason::kDrained}) {
    if (static_cast<std::uint32_t>(known) == reason) return known;
  }
  return absl::InvalidArgumentError(absl::StrCat("the snapshot has an unknown end reason ", reason));
}

absl::StatusOr<SessionState> FromProto(const state::Session& message) {
  SessionState session;
  session.session_id = message.session_id();
  session.client_name = message.client_name();
  session.identity = {
      .uid = message.uid(), .gid = message.gid(), .pid = message.pid(), .start_ticks = message.start_ticks()};
  session.told_to_drain = message.told_to_drain();
  session.leased_bytes_peak = message.leased_bytes_peak();
  for (const state::Revocation& from : message.revoked()) {
    A8A_ASSIGN_OR_RETURN(const EndReason reason, ReasonFromProto(from.reason()));
    session.revoked.push_back({from.buffer_id(), from.generation(), reason});
  }
  return session;
}

LeaseState FromProto(const state::Lease& message) {
  LeaseState lease;
  lease.buffer = {.buffer_id = message.buffer_id(),
                  .generation = message.generation(),
                  .device = message.device(),
                  .size_bytes = message.size_bytes(),
                  .session_id = message.session_id(),
                  .name = message.name(),
                  .group_id = message.group_id()};
  lease.device_uuid = message.device_uuid();
  lease.uid = message.uid();
  lease.rank = message.rank();
  lease.file = FromProto(message.file());
  return lease;
}

MemberState FromProto(const state::Member& message) {
  return {.rank = message.rank(),
          .session_id = message.session_id(),
          .pid = message.pid(),
          .flags_buffer_id = message.flags_buffer_id(),
          .leased_bytes_peak = message.leased_bytes_peak()};
}

WindowState FromProto(const state::Window& message) {
  WindowState window = {.window_index = message.window_index(), .name = message.name(), .parts = {}};
  for (const state::WindowPart& from : message.parts()) {
    WindowPartState& part = window.parts.emplace_back();
    part.size_bytes = from.size_bytes();
    part.buffer_id = from.buffer_id();
    part.released = from.released();
    if (!from.has_user_memory()) continue;
    part.user_memory = {.ipc_handle = from.user_memory().ipc_handle(),
                        .offset_bytes = from.user_memory().offset_bytes()};
  }
  return window;
}

absl::StatusOr<GroupRecord> FromProto(const state::Group& message) {
  GroupRecord group;
  group.group_id = message.group_id();
  group.uid = message.uid();
  group.name = message.name();
  group.world_size = message.world_size();
  group.channel_count = message.channel_count();
  const auto kind = static_cast<DeviceKind>(message.device_kind());
  if (kind != DeviceKind::kHost && kind != DeviceKind::kCuda) {
    return absl::InvalidArgumentError(absl::StrCat("the snapshot has an unknown device kind ", message.device_kind()));
  }
  group.device_kind = kind;
  group.ended = message.ended();
  A8A_ASSIGN_OR_RETURN(group.end_reason, ReasonFromProto(message.end_reason()));
  group.end_rank = message.end_rank();
  group.end_text = message.end_text();
  for (const state::Member& member : message.members()) group.members.push_back(FromProto(member));
  for (const state::Window& window : message.windows()) group.windows.push_back(FromProto(window));
  group.control_file = FromProto(message.control_file());
  return group;
}

absl::StatusOr<CoreState> FromProto(const state::Snapshot& message) {
  CoreState state;
  state.state_id = message.state_id();
  state.next_session_id = message.next_session_id();
  state.next_group_id = message.next_group_id();
  state.next_buffer_id = message.next_buffer_id();
  state.next_generation = message.next_generation();
  state.sessions_total = message.sessions_total();
  state.groups_total = message.groups_total();
  state.sessions_died_total = message.sessions_died_total();
  for (const state::Device& device : message.devices()) {
    state.devices.push_back({device.name(), device.uuid(), device.leased_bytes_peak()});
  }
  for (const state::Session& from : message.sessions()) {
    A8A_ASSIGN_OR_RETURN(SessionState session, FromProto(from));
    state.sessions.push_back(std::move(session));
  }
  for (const state::Lease& lease : message.leases()) state.leases.push_back(FromProto(lease));
  for (const state::Group& from : message.groups()) {
    A8A_ASSIGN_OR_RETURN(GroupRecord group, FromProto(from));
    state.groups.push_back(std::move(group));
  }
  return state;
}

// The payload of what is a whole snapshot of this format.
absl::StatusOr<absl::string_view> CheckedPayload(absl::string_view bytes) {
  SnapshotHeader header = {};
  if (bytes.size() < sizeof(header)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the snapshot has ", bytes.size(), " bytes; its header alone has ", sizeof(header)));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  const absl::string_view payload = bytes.substr(sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) return absl::InvalidArgumentError("it is no snapshot");
  if (header.version != kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the snapshot is of version ", header.version, "; this daemon reads ", kVersion));
  }
  if (header.payload_bytes != payload.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the snapshot has ", payload.size(),
                                                   " bytes after its header, which says ", header.payload_bytes));
  }
  if (const std::uint32_t checksum = Checksum(payload); checksum != header.payload_crc32) {
    return absl::InvalidArgumentError(
        absl::StrCat("the snapshot's checksum is ", checksum, "; its header says ", header.payload_crc32));
  }
  return payload;
}

}  // namespace

std::string SerializeSnapshot(const CoreState& state, absl::string_view boot_id) {
  state::Snapshot message;
  message.set_boot_id(std::string(boot_id));
  ToProto(state, &message);
  std::string bytes(sizeof(SnapshotHeader), '\0');
  message.AppendToString(&bytes);
  const absl::string_view payload = absl::string_view(bytes).substr(sizeof(SnapshotHeader));
  SnapshotHeader header = {
      .magic = {}, .version = kVersion, .payload_crc32 = Checksum(payload), .payload_bytes = payload.size()};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  std::memcpy(bytes.data(), &header, sizeof(header));
  return bytes;
}

absl::StatusOr<CoreState> ParseSnapshot(absl::string_view bytes, absl::string_view boot_id) {
  A8A_ASSIGN_OR_RETURN(const absl::string_view payload, CheckedPayload(bytes));
  state::Snapshot message;
  if (!message.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    return absl::InvalidArgumentError("the snapshot's payload is no message");
  }
  if (message.boot_id() != boot_id) {
    return absl::FailedPreconditionError(
        absl::StrCat("the snapshot is of an earlier boot of the machine, ", message.boot_id(), "; this is ", boot_id));
  }
  return FromProto(message);
}

}  // namespace a8a::daemon
