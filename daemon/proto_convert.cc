#include "daemon/proto_convert.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <string>
#include <type_traits>
#include <variant>

#include "absl/strings/str_cat.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

static_assert(static_cast<int>(EndReason::kRankDied) == v1::END_REASON_RANK_DIED);
static_assert(static_cast<int>(EndReason::kAbortedByRank) == v1::END_REASON_ABORTED_BY_RANK);
static_assert(static_cast<int>(EndReason::kRankLeft) == v1::END_REASON_RANK_LEFT);
static_assert(static_cast<int>(EndReason::kRevoked) == v1::END_REASON_REVOKED);
static_assert(static_cast<int>(EndReason::kDrained) == v1::END_REASON_DRAINED);

v1::EndReason EnumToProto(EndReason reason) { return static_cast<v1::EndReason>(reason); }

v1::DeviceKind EnumToProto(DeviceKind kind) {
  return kind == DeviceKind::kHost ? v1::DEVICE_KIND_HOST : v1::DEVICE_KIND_CUDA;
}

v1::GroupState EnumToProto(GroupState state) {
  switch (state) {
    case GroupState::kForming:
      return v1::GROUP_STATE_FORMING;
    case GroupState::kReady:
      return v1::GROUP_STATE_READY;
    case GroupState::kAborted:
      return v1::GROUP_STATE_ABORTED;
  }
  return v1::GROUP_STATE_UNSPECIFIED;
}

void Fill(const RankInfo& rank, v1::Rank* message) {
  message->set_rank(rank.rank);
  message->set_session_id(rank.session_id);
  message->set_device(rank.device);
  message->set_pid(rank.pid);
}

void Fill(const WindowInfo& window, v1::Window* message) {
  message->set_window_index(window.window_index);
  message->set_name(window.name);
  message->mutable_size_bytes()->Add(window.size_bytes.begin(), window.size_bytes.end());
}

// `leases` in rank order.
void Fill(const std::vector<LeaseGrant>& leases, google::protobuf::RepeatedPtrField<v1::RankBuffer>* messages) {
  int rank = 0;
  for (const LeaseGrant& lease : leases) {
    v1::RankBuffer* message = messages->Add();
    message->set_rank(rank++);
    ToProto(lease.buffer, message->mutable_buffer());
    if (!lease.user_memory.has_value()) {
      ToProto(lease.ticket, message->mutable_ticket());
      continue;
    }
    message->mutable_user_memory()->set_ipc_handle(lease.user_memory->ipc_handle);
    message->mutable_user_memory()->set_offset_bytes(lease.user_memory->offset_bytes);
  }
}

void Fill(const BufferRevokedEvent& event, v1::AttachResponse* message) {
  v1::BufferRevoked* revoked = message->mutable_buffer_revoked();
  revoked->set_buffer_id(event.buffer_id);
  revoked->set_generation(event.generation);
  revoked->set_reason(EnumToProto(event.reason));
}

void Fill(const GroupAbortedEvent& event, v1::AttachResponse* message) {
  v1::GroupAborted* aborted = message->mutable_group_aborted();
  aborted->set_group_id(event.group_id);
  aborted->set_reason(EnumToProto(event.reason));
  aborted->set_rank(event.rank);
  aborted->set_text(event.text);
}

void Fill(const DrainingEvent& event, v1::AttachResponse* message) {
  ToProto(event.timeout, message->mutable_draining()->mutable_timeout());
}

void Fill(const UndrainedEvent&, v1::AttachResponse* message) { message->mutable_undrained(); }

void Fill(const SessionEndedEvent&, v1::AttachResponse*) {}

void Fill(const kernels::WaitCounters& waits, v1::WaitHistogram* message) {
  message->mutable_counts()->Add(std::begin(waits.counts), std::end(waits.counts));
  message->set_sum_ns(waits.sum_ns);
}

void Fill(const ChannelSnapshot& channel, v1::Counters* message) {
  message->set_all_to_alls(channel.all_to_alls);
  message->set_prepares(channel.prepares);
  message->set_rows_sent(channel.rows_sent);
  message->set_bytes_sent(channel.bytes_sent);
  message->set_rows_received(channel.rows_received);
  message->set_bytes_received(channel.bytes_received);
  Fill(channel.credit_wait, message->mutable_credit_wait());
  Fill(channel.done_wait, message->mutable_done_wait());
  for (std::size_t code = 0; code < channel.errors.size(); ++code) {
    if (channel.errors[code] == 0) continue;
    v1::ErrorCount* error = message->add_errors();
    error->set_code(absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
    error->set_count(channel.errors[code]);
  }
}

void Add(const kernels::WaitCounters& waits, kernels::WaitCounters* sum) {
  std::transform(std::begin(waits.counts), std::end(waits.counts), std::begin(sum->counts), std::begin(sum->counts),
                 std::plus<>());
  sum->sum_ns += waits.sum_ns;
}

void Add(const ChannelSnapshot& channel, ChannelSnapshot* sum) {
  sum->all_to_alls += channel.all_to_alls;
  sum->prepares += channel.prepares;
  sum->rows_sent += channel.rows_sent;
  sum->bytes_sent += channel.bytes_sent;
  sum->rows_received += channel.rows_received;
  sum->bytes_received += channel.bytes_received;
  Add(channel.credit_wait, &sum->credit_wait);
  Add(channel.done_wait, &sum->done_wait);
  for (std::size_t code = 0; code < sum->errors.size(); ++code) sum->errors[code] += channel.errors[code];
}

void Fill(const RankSnapshot& rank, v1::RankStats* message) {
  ChannelSnapshot total;
  message->set_rank(rank.rank);
  for (const ChannelSnapshot& channel : rank.channels) {
    v1::ChannelStats* stats = message->add_channels();
    stats->set_channel(channel.channel);
    stats->set_epoch(channel.epoch);
    Fill(channel, stats->mutable_counters());
    Add(channel, &total);
  }
  Fill(total, message->mutable_total());
  for (const auto& [index, counters] : rank.windows) {
    v1::WindowStats* stats = message->add_windows();
    stats->set_window_index(index);
    stats->set_all_to_alls(counters.all_to_alls);
    stats->set_rows(counters.rows);
    stats->set_bytes(counters.bytes);
  }
  message->set_leased_bytes(rank.leased_bytes);
  message->set_leased_bytes_peak(rank.leased_bytes_peak);
}

void Fill(const GroupSnapshot& group, v1::GroupStats* message) {
  ToProto(group.group, message->mutable_group());
  for (const RankSnapshot& rank : group.ranks) Fill(rank, message->add_ranks());
  message->set_control_bytes(group.control_bytes);
}

void Fill(const SessionSnapshot& session, v1::SessionStats* message) {
  message->set_session_id(session.session.session_id);
  message->set_client_name(session.session.client_name);
  message->set_pid(session.session.identity.pid);
  message->set_uid(session.session.identity.uid);
  message->set_leased_bytes(session.leased_bytes);
  message->set_leased_bytes_peak(session.leased_bytes_peak);
  message->set_lease_count(session.lease_count);
  message->set_stream_open(session.session.stream_open);
}

void Fill(const DeviceSnapshot& device, v1::DeviceStats* message) {
  ToProto(device.device, message->mutable_device());
  message->set_leased_bytes(device.leased_bytes);
  message->set_leased_bytes_peak(device.leased_bytes_peak);
  message->set_lease_count(device.lease_count);
}

}  // namespace

void ToProto(const DeviceInfo& device, v1::Device* message) {
  message->set_name(device.name);
  message->set_kind(EnumToProto(device.kind));
  message->set_uuid(device.uuid);
  message->set_granularity_bytes(device.granularity_bytes);
  message->set_pool_limit_bytes(device.pool_limit_bytes);
}

void ToProto(const BufferInfo& buffer, v1::Buffer* message) {
  message->set_buffer_id(buffer.buffer_id);
  message->set_generation(buffer.generation);
  message->set_device(buffer.device);
  message->set_size_bytes(buffer.size_bytes);
  message->set_session_id(buffer.session_id);
  message->set_name(buffer.name);
  message->set_group_id(buffer.group_id);
}

void ToProto(const TicketGrant& ticket, v1::Ticket* message) {
  message->set_value(ticket.value.data(), ticket.value.size());
  message->set_size_bytes(ticket.size_bytes);
}

void ToProto(const GroupInfo& group, v1::Group* message) {
  message->set_group_id(group.group_id);
  message->set_name(group.name);
  message->set_world_size(group.world_size);
  message->set_channel_count(group.channel_count);
  message->set_state(EnumToProto(group.state));
  for (const RankInfo& rank : group.ranks) Fill(rank, message->add_ranks());
  for (const WindowInfo& window : group.windows) Fill(window, message->add_windows());
  message->set_uid(group.uid);
  message->set_end_rank(-1);
  if (group.state != GroupState::kAborted) return;
  message->set_end_reason(EnumToProto(group.end_reason));
  message->set_end_rank(group.end_rank);
}

void ToProto(const JoinGrant& grant, v1::JoinGroupResponse* message) {
  ToProto(grant.group, message->mutable_group());
  ToProto(grant.control, message->mutable_control());
  Fill(grant.flags, message->mutable_flags());
}

void ToProto(const WindowGrant& grant, v1::RegisterWindowResponse* message) {
  message->set_window_index(grant.window_index);
  Fill(grant.buffers, message->mutable_buffers());
}

void ToProto(const SessionEvent& event, v1::AttachResponse* message) {
  std::visit([message](const auto& one) { Fill(one, message); }, event);
}

void ToProto(const CoreSnapshot& snapshot, v1::Stats* message) {
  ToProto(snapshot.time, message->mutable_time());
  for (const DeviceSnapshot& device : snapshot.devices) Fill(device, message->add_devices());
  for (const SessionSnapshot& session : snapshot.sessions) Fill(session, message->add_sessions());
  for (const GroupSnapshot& group : snapshot.groups) Fill(group, message->add_groups());
}

void ToProto(absl::Duration duration, google::protobuf::Duration* message) {
  message->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  message->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(duration)));
}

void ToProto(absl::Time time, google::protobuf::Timestamp* message) {
  absl::Duration since_epoch = time - absl::UnixEpoch();
  message->set_seconds(absl::IDivDuration(since_epoch, absl::Seconds(1), &since_epoch));
  message->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(since_epoch)));
}

absl::StatusOr<absl::Duration> FromProto(const google::protobuf::Duration& message) {
  constexpr int kNanosPerSecond = 1'000'000'000;
  const bool nanos_fit = message.nanos() > -kNanosPerSecond && message.nanos() < kNanosPerSecond;
  const bool signs_differ =
      (message.seconds() < 0 && message.nanos() > 0) || (message.seconds() > 0 && message.nanos() < 0);
  if (!nanos_fit || signs_differ) {
    return absl::InvalidArgumentError(absl::StrCat("duration of ", message.seconds(), " s and ", message.nanos(),
                                                   " ns; nanos must be below 10^9 and of the same sign"));
  }
  return absl::Seconds(message.seconds()) + absl::Nanoseconds(message.nanos());
}

JoinOptions FromProto(const v1::JoinGroupRequest& request) {
  return {.name = request.name(),
          .rank = request.rank(),
          .world_size = request.world_size(),
          .channel_count = request.channel_count() == 0 ? kDefaultChannels : request.channel_count(),
          .device = request.device(),
          .secret = request.secret()};
}

WindowOptions FromProto(const v1::RegisterWindowRequest& request) {
  WindowOptions options = {.name = request.name(), .size_bytes = request.size_bytes()};
  if (request.has_user_memory()) {
    options.user_memory = {.ipc_handle = request.user_memory().ipc_handle(),
                           .offset_bytes = request.user_memory().offset_bytes()};
  }
  return options;
}

}  // namespace a8a::daemon
