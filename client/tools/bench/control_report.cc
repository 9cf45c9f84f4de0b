#include "client/tools/bench/control_report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/tools/bench/control_roles.h"
#include "kernels/base/version.h"

namespace a8a::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMebibyte = 1 << 20;

double Mebibytes(std::int64_t bytes) { return static_cast<double>(bytes) / kMebibyte; }

std::string Line(absl::string_view name, const tools::Summary& s) {
  return absl::StrFormat("%-44s %8d %10.1f %10.1f %10.1f %10.1f\n", name, s.count, s.p50_us, s.p95_us, s.p99_us,
                         s.max_us);
}

std::string MachineText(const tools::Machine& machine) {
  return absl::StrFormat(
      "machine   %s, %d cores usable, %.1f GiB, load %.2f before\n"
      "kernel    %s\n"
      "compiler  %s; a8a %s\n",
      machine.cpu, machine.core_count, Mebibytes(machine.memory_bytes) / 1024, machine.load_1min, machine.kernel,
      machine.compiler, kVersion);
}

std::string MethodText(const ControlConfig& config) {
  return absl::StrFormat(
      "measured  for %d s each against the daemon in %s, which was left running throughout; ranks are processes of\n"
      "          their own, started before the clock; warm-up dropped: %d group starts, %d calls; percentiles by\n"
      "          nearest rank\n",
      config.seconds, config.runtime_dir, kWarmUpStarts, kWarmUpCalls);
}

std::string StartLines(const ControlConfig& config, const GroupStart& start) {
  return absl::StrCat(
      Line(absl::StrFormat("group start, %d ranks, last rank ready", config.rank_count), start.whole),
      Line("  of that: attach", start.attach), Line("  of that: join", start.join),
      Line(absl::StrFormat("  of that: window of %.6g MiB, mapped by all", Mebibytes(config.window_bytes)),
           start.window));
}

std::string CrowdName(const Crowd& crowd) {
  return absl::StrFormat("GetStats, %d sessions, %d groups", crowd.sessions, crowd.groups);
}

std::string ResidentLine(const Crowd& crowd) {
  return absl::StrFormat("daemon's resident memory with %d sessions, %d groups: %.1f MiB (%.1f MiB before)\n",
                         crowd.sessions, crowd.groups, Mebibytes(crowd.resident_bytes),
                         Mebibytes(crowd.resident_bytes_before));
}

Json SummaryJson(const tools::Summary& s) {
  return Json{{"count", s.count}, {"p50", s.p50_us}, {"p95", s.p95_us}, {"p99", s.p99_us}, {"max", s.max_us}};
}

Json CrowdJson(const Crowd& crowd) {
  return Json{{"sessions", crowd.sessions},
              {"groups", crowd.groups},
              {"daemon_resident_bytes", crowd.resident_bytes},
              {"daemon_resident_bytes_before", crowd.resident_bytes_before},
              {"get_stats_us", SummaryJson(crowd.get_stats)}};
}

Json MachineJson(const tools::Machine& machine) {
  return Json{{"cpu", machine.cpu},
              {"cores", machine.core_count},
              {"memory_bytes", machine.memory_bytes},
              {"load_1min", machine.load_1min},
              {"kernel", machine.kernel},
              {"compiler", machine.compiler}};
}

Json StartJson(const ControlConfig& config, const GroupStart& start) {
  return Json{{"ranks", config.rank_count},
              {"window_bytes", config.window_bytes},
              {"warm_up", kWarmUpStarts},
              {"last_rank_us", SummaryJson(start.whole)},
              {"attach_us", SummaryJson(start.attach)},
              {"join_us", SummaryJson(start.join)},
              {"window_us", SummaryJson(start.window)}};
}

}  // namespace

std::string ControlText(const tools::Machine& machine, const ControlConfig& config, const ControlResults& results) {
  return absl::StrCat(
      MachineText(machine), MethodText(config), "\n",
      absl::StrFormat("%-44s %8s %10s %10s %10s %10s\n", "", "repeats", "p50 us", "p95 us", "p99 us", "max us"),
      StartLines(config, results.start), Line("Attach, on an open connection", results.attach),
      Line("Client::Connect, connection included", results.connect),
      Line(CrowdName(results.sessions), results.sessions.get_stats),
      Line(CrowdName(results.crowd), results.crowd.get_stats), "\n", ResidentLine(results.sessions),
      ResidentLine(results.crowd));
}

std::string ControlJson(const tools::Machine& machine, const ControlConfig& config, const ControlResults& results) {
  const Json object = {{"program", "a8a-bench"},
                       {"benchmark", "control"},
                       {"version", kVersion},
                       {"machine", MachineJson(machine)},
                       {"seconds", config.seconds},
                       {"warm_up_calls", kWarmUpCalls},
                       {"group_start", StartJson(config, results.start)},
                       {"attach_us", SummaryJson(results.attach)},
                       {"connect_us", SummaryJson(results.connect)},
                       {"sessions", CrowdJson(results.sessions)},
                       {"sessions_and_groups", CrowdJson(results.crowd)}};
  return object.dump(/*indent=*/2, /*indent_char=*/' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace a8a::bench
