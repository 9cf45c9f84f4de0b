#include "client/tools/ctl/views.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/tools/ctl/format.h"

namespace a8a::ctl {
namespace {

// A device that has this much of its pool leased is shown as filling up.
constexpr double kPoolFull = 0.9;

double Share(std::int64_t part, std::int64_t whole) {
  return whole <= 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string Bytes(std::int64_t bytes) { return FormatBytes(static_cast<double>(bytes)); }
std::string Count(std::uint64_t count) { return FormatCount(static_cast<double>(count)); }

Cell UseCell(const v1::DeviceStats& device) {
  const double share = Share(device.leased_bytes(), device.device().pool_limit_bytes());
  return {FormatShare(share), share >= kPoolFull ? Color::kWarning : Color::kNone};
}

Cell HealthCell(bool healthy) { return healthy ? Cell{"healthy", Color::kGood} : Cell{"unhealthy", Color::kBad}; }

Cell StateCell(const v1::Group& group) {
  switch (group.state()) {
    case v1::GROUP_STATE_READY:
      return {StateName(group.state()), Color::kGood};
    case v1::GROUP_STATE_ABORTED:
      return {StateName(group.state()), Color::kBad};
    default:
      return {StateName(group.state()), Color::kWarning};
  }
}

std::string EndText(const v1::Group& group) {
  if (group.state() != v1::GROUP_STATE_ABORTED) return "-";
  const std::string rank = group.end_rank() >= 0 ? absl::StrCat(" (rank ", group.end_rank(), ")") : "";
  return absl::StrCat(ReasonName(group.end_reason()), rank);
}

std::int64_t WindowBytes(const v1::Group& group) {
  std::int64_t bytes = 0;
  for (const v1::Window& window : group.windows()) {
    for (const std::int64_t size : window.size_bytes()) bytes += size;
  }
  return bytes;
}

std::string GroupCount(const v1::Stats& stats) {
  const auto ready = std::count_if(stats.groups().begin(), stats.groups().end(), [](const v1::GroupStats& group) {
    return group.group().state() == v1::GROUP_STATE_READY;
  });
  return absl::StrCat(stats.groups_size(), " (", ready, " ready)");
}

void AddCounters(const v1::Group& group, const v1::RankStats& rank, Table* table) {
  const v1::Counters& total = rank.total();
  const std::uint64_t errors = ErrorCountOf(total);
  table->AddRow({{absl::StrCat(group.group_id())},
                 {group.name()},
                 {absl::StrCat(rank.rank())},
                 {Count(total.all_to_alls())},
                 {Count(total.prepares())},
                 {Count(total.rows_sent())},
                 {FormatBytes(static_cast<double>(total.bytes_sent()))},
                 {Count(total.rows_received())},
                 {FormatBytes(static_cast<double>(total.bytes_received()))},
                 {FormatNs(static_cast<double>(total.credit_wait().sum_ns()))},
                 {FormatNs(static_cast<double>(total.done_wait().sum_ns()))},
                 {FormatNs(QuantileNs(total.done_wait(), 0.99))},
                 {Count(errors), errors > 0 ? Color::kBad : Color::kNone}});
}

}  // namespace

std::string StatusView(const v1::Stats& stats, absl::string_view health, const Style& style) {
  const v1::DaemonStats& daemon = stats.daemon();
  const bool serving = health == "SERVING";
  const Color color = serving ? Color::kGood : daemon.draining() ? Color::kWarning : Color::kBad;
  const absl::string_view state = serving ? "serving" : daemon.draining() ? "draining" : "not serving";
  const auto line = [](absl::string_view name, absl::string_view value) {
    return absl::StrCat(name, std::string(10 - name.size(), ' '), value, "\n");
  };
  return absl::StrCat(
      line("state", Paint(state, color, style)),
      line("daemon",
           absl::StrCat("a8a-daemon ", daemon.version(), ", pid ", daemon.pid(), ", up ",
                        FormatAge(daemon.uptime().seconds()), ", ", Bytes(daemon.resident_bytes()), " resident")),
      line("sessions", absl::StrCat(stats.sessions_size(), " (", daemon.sessions_total(), " since the start, ",
                                    daemon.sessions_died_total(), " died)")),
      line("groups", absl::StrCat(GroupCount(stats), ", ", daemon.groups_total(), " completed since the start")), "\n",
      DevicesView(stats, style));
}

std::string DevicesView(const v1::Stats& stats, const Style& style) {
  Table table({{.title = "DEVICE"},
               {.title = "KIND", .drop_order = 2},
               {.title = "HEALTH"},
               {.title = "LEASED", .align = Align::kRight},
               {.title = "LIMIT", .align = Align::kRight},
               {.title = "USE", .align = Align::kRight},
               {.title = "PEAK", .align = Align::kRight, .drop_order = 1},
               {.title = "LEASES", .align = Align::kRight},
               {.title = "GRANULARITY", .align = Align::kRight, .drop_order = 4},
               {.title = "UUID", .drop_order = 3}});
  for (const v1::DeviceStats& device : stats.devices()) {
    const std::string& uuid = device.device().uuid();
    table.AddRow({{device.device().name()},
                  {KindName(device.device().kind())},
                  HealthCell(device.healthy()),
                  {Bytes(device.leased_bytes())},
                  {Bytes(device.device().pool_limit_bytes())},
                  UseCell(device),
                  {Bytes(device.leased_bytes_peak())},
                  {absl::StrCat(device.lease_count())},
                  {Bytes(device.device().granularity_bytes())},
                  {uuid.empty() ? "-" : uuid}});
  }
  return table.Format(style);
}

std::string SessionsView(const v1::Stats& stats, const Style& style) {
  if (stats.sessions().empty()) return "No sessions.\n";
  Table table({{.title = "SESSION", .align = Align::kRight},
               {.title = "CLIENT", .flexible = true},
               {.title = "PID", .align = Align::kRight},
               {.title = "UID", .align = Align::kRight},
               {.title = "LEASES", .align = Align::kRight},
               {.title = "LEASED", .align = Align::kRight},
               {.title = "PEAK", .align = Align::kRight, .drop_order = 1},
               {.title = "STREAM"}});
  for (const v1::SessionStats& session : stats.sessions()) {
    table.AddRow({{absl::StrCat(session.session_id())},
                  {session.client_name()},
                  {session.pid() == 0 ? "-" : absl::StrCat(session.pid())},
                  {absl::StrCat(session.uid())},
                  {absl::StrCat(session.lease_count())},
                  {Bytes(session.leased_bytes())},
                  {Bytes(session.leased_bytes_peak())},
                  session.stream_open() ? Cell{"open", Color::kGood} : Cell{"lost", Color::kWarning}});
  }
  return table.Format(style);
}

std::string GroupsView(const v1::Stats& stats, const Style& style) {
  if (stats.groups().empty()) return "No groups.\n";
  Table table({{.title = "GROUP", .align = Align::kRight},
               {.title = "NAME", .flexible = true},
               {.title = "STATE"},
               {.title = "RANKS", .align = Align::kRight},
               {.title = "CHANNELS", .align = Align::kRight, .drop_order = 2},
               {.title = "WINDOWS", .align = Align::kRight},
               {.title = "BYTES", .align = Align::kRight},
               {.title = "UID", .align = Align::kRight, .drop_order = 1},
               {.title = "ENDED BY"}});
  for (const v1::GroupStats& entry : stats.groups()) {
    const v1::Group& group = entry.group();
    table.AddRow({{absl::StrCat(group.group_id())},
                  {group.name()},
                  StateCell(group),
                  {absl::StrCat(group.ranks_size(), "/", group.world_size())},
                  {absl::StrCat(group.channel_count())},
                  {absl::StrCat(group.windows_size())},
                  {Bytes(WindowBytes(group))},
                  {absl::StrCat(group.uid())},
                  {EndText(group)}});
  }
  return table.Format(style);
}

std::string BuffersView(const std::vector<v1::Buffer>& buffers, const Style& style) {
  if (buffers.empty()) return "No buffers.\n";
  Table table({{.title = "BUFFER", .align = Align::kRight},
               {.title = "NAME", .flexible = true},
               {.title = "DEVICE"},
               {.title = "SIZE", .align = Align::kRight},
               {.title = "SESSION", .align = Align::kRight},
               {.title = "GROUP", .align = Align::kRight},
               {.title = "GENERATION", .align = Align::kRight, .drop_order = 1}});
  for (const v1::Buffer& buffer : buffers) {
    table.AddRow({{absl::StrCat(buffer.buffer_id())},
                  {buffer.name().empty() ? "-" : buffer.name()},
                  {buffer.device()},
                  {Bytes(buffer.size_bytes())},
                  {absl::StrCat(buffer.session_id())},
                  {buffer.group_id() == 0 ? "-" : absl::StrCat(buffer.group_id())},
                  {absl::StrCat(buffer.generation())}});
  }
  return table.Format(style);
}

std::string CountersView(const v1::Stats& stats, const Style& style) {
  Table table({{.title = "GROUP", .align = Align::kRight},
               {.title = "NAME", .flexible = true},
               {.title = "RANK", .align = Align::kRight},
               {.title = "A2A", .align = Align::kRight},
               {.title = "PREPARES", .align = Align::kRight, .drop_order = 5},
               {.title = "ROWS OUT", .align = Align::kRight, .drop_order = 3},
               {.title = "OUT", .align = Align::kRight},
               {.title = "ROWS IN", .align = Align::kRight, .drop_order = 4},
               {.title = "IN", .align = Align::kRight, .drop_order = 1},
               {.title = "CREDIT WAIT", .align = Align::kRight, .drop_order = 2},
               {.title = "DONE WAIT", .align = Align::kRight},
               {.title = "P99", .align = Align::kRight},
               {.title = "ERRORS", .align = Align::kRight}});
  for (const v1::GroupStats& group : stats.groups()) {
    for (const v1::RankStats& rank : group.ranks()) AddCounters(group.group(), rank, &table);
  }
  return table.empty() ? "No ranks in groups.\n" : table.Format(style);
}

}  // namespace a8a::ctl
