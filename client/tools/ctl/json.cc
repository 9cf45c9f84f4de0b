#include "client/tools/ctl/json.h"

#include "absl/strings/str_format.h"
#include "client/tools/ctl/format.h"

namespace a8a::ctl {
namespace {

using Json = nlohmann::ordered_json;

Json RanksJson(const v1::Group& group) {
  Json ranks = Json::array();
  for (const v1::Rank& rank : group.ranks()) {
    ranks.push_back(
        {{"rank", rank.rank()}, {"session_id", rank.session_id()}, {"device", rank.device()}, {"pid", rank.pid()}});
  }
  return ranks;
}

Json WindowsJson(const v1::Group& group) {
  Json windows = Json::array();
  for (const v1::Window& window : group.windows()) {
    Json sizes = Json::array();
    for (const std::int64_t size : window.size_bytes()) sizes.push_back(size);
    windows.push_back({{"window_index", window.window_index()}, {"name", window.name()}, {"size_bytes", sizes}});
  }
  return windows;
}

Json WaitJson(const v1::WaitHistogram& wait) {
  Json counts = Json::array();
  for (const std::uint64_t count : wait.counts()) counts.push_back(count);
  return {{"counts", counts}, {"sum_ns", wait.sum_ns()}};
}

Json CountersOfJson(const v1::Counters& counters) {
  Json errors = Json::object();
  for (const v1::ErrorCount& error : counters.errors()) errors[error.code()] = error.count();
  return {{"all_to_alls", counters.all_to_alls()},
          {"prepares", counters.prepares()},
          {"rows_sent", counters.rows_sent()},
          {"bytes_sent", counters.bytes_sent()},
          {"rows_received", counters.rows_received()},
          {"bytes_received", counters.bytes_received()},
          {"credit_wait", WaitJson(counters.credit_wait())},
          {"done_wait", WaitJson(counters.done_wait())},
          {"errors", errors}};
}

Json RankStatsJson(const v1::RankStats& rank) {
  Json channels = Json::array();
  for (const v1::ChannelStats& channel : rank.channels()) {
    channels.push_back(
        {{"channel", channel.channel()}, {"epoch", channel.epoch()}, {"counters", CountersOfJson(channel.counters())}});
  }
  Json windows = Json::array();
  for (const v1::WindowStats& window : rank.windows()) {
    windows.push_back({{"window_index", window.window_index()},
                       {"all_to_alls", window.all_to_alls()},
                       {"rows", window.rows()},
                       {"bytes", window.bytes()}});
  }
  return {
      {"rank", rank.rank()}, {"total", CountersOfJson(rank.total())}, {"channels", channels},
      {"windows", windows},  {"leased_bytes", rank.leased_bytes()},   {"leased_bytes_peak", rank.leased_bytes_peak()}};
}

}  // namespace

Json DaemonJson(const v1::DaemonStats& daemon) {
  // The id as text: it is random in 64 bits, of which many readers of JSON keep 53.
  return {{"daemon_instance_id", absl::StrFormat("%016x", daemon.daemon_instance_id())},
          {"version", daemon.version()},
          {"pid", daemon.pid()},
          {"uptime_seconds", daemon.uptime().seconds()},
          {"draining", daemon.draining()},
          {"resident_bytes", daemon.resident_bytes()},
          {"sessions_total", daemon.sessions_total()},
          {"groups_total", daemon.groups_total()},
          {"sessions_died_total", daemon.sessions_died_total()}};
}

Json DevicesJson(const v1::Stats& stats) {
  Json devices = Json::array();
  for (const v1::DeviceStats& device : stats.devices()) {
    devices.push_back({{"name", device.device().name()},
                       {"kind", KindName(device.device().kind())},
                       {"uuid", device.device().uuid()},
                       {"granularity_bytes", device.device().granularity_bytes()},
                       {"pool_limit_bytes", device.device().pool_limit_bytes()},
                       {"leased_bytes", device.leased_bytes()},
                       {"leased_bytes_peak", device.leased_bytes_peak()},
                       {"lease_count", device.lease_count()},
                       {"healthy", device.healthy()}});
  }
  return devices;
}

Json SessionsJson(const v1::Stats& stats) {
  Json sessions = Json::array();
  for (const v1::SessionStats& session : stats.sessions()) {
    sessions.push_back({{"session_id", session.session_id()},
                        {"client_name", session.client_name()},
                        {"pid", session.pid()},
                        {"uid", session.uid()},
                        {"leased_bytes", session.leased_bytes()},
                        {"leased_bytes_peak", session.leased_bytes_peak()},
                        {"lease_count", session.lease_count()},
                        {"stream_open", session.stream_open()}});
  }
  return sessions;
}

Json GroupsJson(const v1::Stats& stats) {
  Json groups = Json::array();
  for (const v1::GroupStats& entry : stats.groups()) {
    const v1::Group& group = entry.group();
    const bool ended = group.state() == v1::GROUP_STATE_ABORTED;
    groups.push_back({{"group_id", group.group_id()},
                      {"name", group.name()},
                      {"world_size", group.world_size()},
                      {"channel_count", group.channel_count()},
                      {"state", StateName(group.state())},
                      {"uid", group.uid()},
                      {"end_reason", ended ? Json(ReasonName(group.end_reason())) : Json()},
                      {"end_rank", ended && group.end_rank() >= 0 ? Json(group.end_rank()) : Json()},
                      {"control_bytes", entry.control_bytes()},
                      {"ranks", RanksJson(group)},
                      {"windows", WindowsJson(group)}});
  }
  return groups;
}

Json BuffersJson(const std::vector<v1::Buffer>& buffers) {
  Json list = Json::array();
  for (const v1::Buffer& buffer : buffers) {
    list.push_back({{"buffer_id", buffer.buffer_id()},
                    {"generation", buffer.generation()},
                    {"device", buffer.device()},
                    {"size_bytes", buffer.size_bytes()},
                    {"session_id", buffer.session_id()},
                    {"name", buffer.name()},
                    {"group_id", buffer.group_id() == 0 ? Json() : Json(buffer.group_id())}});
  }
  return list;
}

Json CountersJson(const v1::Stats& stats) {
  Json groups = Json::array();
  for (const v1::GroupStats& group : stats.groups()) {
    Json ranks = Json::array();
    for (const v1::RankStats& rank : group.ranks()) ranks.push_back(RankStatsJson(rank));
    groups.push_back({{"group_id", group.group().group_id()}, {"name", group.group().name()}, {"ranks", ranks}});
  }
  return groups;
}

}  // namespace a8a::ctl
