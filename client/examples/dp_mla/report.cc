#include "client/examples/dp_mla/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/base/version.h"

namespace a8a::dp_mla {
namespace {

using Json = nlohmann::ordered_json;

std::int64_t Sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

std::int64_t Largest(const std::vector<std::int64_t>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

void AddTraffic(const Job& job, RunReport* report) {
  std::vector<std::int64_t> all_times;
  for (const Direction direction : kDirections) {
    const auto index = static_cast<std::size_t>(direction);
    Traffic& traffic = report->directions[index];
    for (int rank = 0; rank < report->config.shape.world_size; ++rank) traffic.rows += job.rank(rank).rows[index];
    traffic.bytes = traffic.rows * report->config.row_bytes[index];
    std::vector<std::int64_t> times = job.AllToAllTimes(direction);
    all_times.insert(all_times.end(), times.begin(), times.end());
    traffic.times = tools::Summarize(std::move(times));
    report->total.rows += traffic.rows;
    report->total.bytes += traffic.bytes;
  }
  report->total.times = tools::Summarize(std::move(all_times));
}

void AddRanks(const Job& job, RunReport* report) {
  for (int rank = 0; rank < report->config.shape.world_size; ++rank) {
    const RankState& state = job.rank(rank);
    report->overhead_bytes.push_back(state.overhead_bytes);
    report->window_padding_bytes.push_back(state.window_padding_bytes);
    report->mismatches += state.differing_rows;
    if (state.differing_rows == 0) continue;
    if (!report->first_mismatch.has_value() || IsEarlier(state.first_mismatch, *report->first_mismatch)) {
      report->first_mismatch = state.first_mismatch;
    }
  }
}

constexpr absl::string_view ModeName(Mode mode) { return mode == Mode::kPrepared ? "prepared" : "oneshot"; }

std::string Headline(const RunReport& report) {
  const JobConfig& config = report.config;
  return absl::StrFormat(
      "%d ranks in %d dp groups, %d steps x %d layers, rows of %d (tp2dp) and %d (dp2tp) bytes, %s%s\n"
      "trace %s, seed %d, %.1f s in all\n",
      config.shape.world_size, config.shape.dp_group_count, report.steps_run(), config.layer_count, config.row_bytes[0],
      config.row_bytes[1], ModeName(config.mode), config.free_running ? ", free-running" : "", report.trace,
      config.seed, report.wall_seconds);
}

std::string TimesCells(const tools::Summary& times) {
  return absl::StrFormat("%10.1f %10.1f %10.1f", times.p50_us, times.p99_us, times.max_us);
}

std::string TrafficLine(absl::string_view name, const Traffic& traffic) {
  return absl::StrFormat("%-8s %11d %12d %16d %s %8.2f\n", name, traffic.times.count, traffic.rows, traffic.bytes,
                         TimesCells(traffic.times), traffic.gb_per_s());
}

std::string PrepareLine(const tools::Summary& prepares) {
  if (prepares.count == 0) return "";
  return absl::StrFormat("%-8s %11d %12s %16s %s %8s\n", "prepare", prepares.count, "-", "-", TimesCells(prepares),
                         "-");
}

std::string Legend(const RunReport& report) {
  return absl::StrCat(
      "Times are those of the slowest rank, ",
      report.config.free_running ? "from its own start, waits for late ranks included" : "from a common start",
      "; percentiles by nearest rank.\n"
      "Bytes are rows x row bytes over all ranks, each row once, a rank's own included; GB/s is bytes / sum of "
      "times.\n");
}

std::string MemoryLine(const RunReport& report) {
  return absl::StrFormat(
      "Memory that a8a took: %d bytes for flags and control and %d bytes of window padding on the rank with most, "
      "%d bytes over all ranks.\n",
      Largest(report.overhead_bytes), Largest(report.window_padding_bytes), report.memory_bytes());
}

std::string VerdictLine(const RunReport& report) {
  if (!report.first_mismatch.has_value()) {
    return absl::StrCat("Every byte compared with the oracle: 0 mismatches in ", report.total.rows, " rows.\n");
  }
  return absl::StrCat("MISMATCH in ", report.mismatches, " rows; the first: ", Describe(*report.first_mismatch), "\n");
}

void AddTimes(const tools::Summary& times, Json* object) {
  (*object)["p50_us"] = times.p50_us;
  (*object)["p99_us"] = times.p99_us;
  (*object)["max_us"] = times.max_us;
}

// Puts the numbers of one line of the table into *object.
void AddTrafficJson(const Traffic& traffic, Json* object) {
  (*object)["all_to_alls"] = traffic.times.count;
  (*object)["rows"] = traffic.rows;
  (*object)["bytes"] = traffic.bytes;
  AddTimes(traffic.times, object);
  (*object)["gb_per_s"] = traffic.gb_per_s();
}

Json MismatchJson(const Mismatch& m) {
  return Json{{"step", m.step},
              {"layer", m.layer},
              {"direction", DirectionName(m.direction)},
              {"rank", m.rank},
              {"row", m.row.memory_row},
              {"in_padding", m.in_padding},
              {"byte_offset", m.byte_offset},
              {"expected", m.expected},
              {"actual", m.actual}};
}

Json MemoryJson(const RunReport& report) {
  return Json{{"total_bytes", report.memory_bytes()},
              {"overhead_bytes_by_rank", report.overhead_bytes},
              {"window_padding_bytes_by_rank", report.window_padding_bytes}};
}

Json ConfigJson(const RunReport& report) {
  const JobConfig& config = report.config;
  return Json{{"program", "a8a-dp-mla"},
              {"version", kVersion},
              {"trace", report.trace},
              {"world_size", config.shape.world_size},
              {"dp", config.shape.dp_group_count},
              {"layers", config.layer_count},
              {"row_bytes_tp2dp", config.row_bytes[0]},
              {"row_bytes_dp2tp", config.row_bytes[1]},
              {"mode", ModeName(config.mode)},
              {"free_running", config.free_running},
              {"seed", config.seed}};
}

// A path is bytes, JSON is UTF-8: what does not fit is replaced rather than thrown at.
std::string Dump(const Json& object) {
  return object.dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

double Traffic::gb_per_s() const {
  constexpr double kBytesPerMicrosecond = 1e3;  // of one GB/s
  return times.sum_us > 0 ? static_cast<double>(bytes) / times.sum_us / kBytesPerMicrosecond : 0;
}

std::int64_t RunReport::steps_run() const {
  const std::int64_t all_to_alls_of_step = std::int64_t{config.layer_count} * kDirectionCount;
  return (total.times.count + all_to_alls_of_step - 1) / all_to_alls_of_step;
}

std::int64_t RunReport::memory_bytes() const { return Sum(overhead_bytes) + Sum(window_padding_bytes); }

RunReport MakeReport(const Job& job, const std::string& trace, double wall_seconds) {
  RunReport report{.config = job.config(), .trace = trace, .wall_seconds = wall_seconds};
  AddTraffic(job, &report);
  AddRanks(job, &report);
  report.prepares = tools::Summarize(job.PrepareTimes());
  return report;
}

std::string ReportTable(const RunReport& report) {
  return absl::StrCat(Headline(report), "\n",
                      absl::StrFormat("%-8s %11s %12s %16s %10s %10s %10s %8s\n", "", "all-to-alls", "rows", "bytes",
                                      "p50 us", "p99 us", "max us", "GB/s"),
                      TrafficLine("tp2dp", report.directions[0]), TrafficLine("dp2tp", report.directions[1]),
                      TrafficLine("both", report.total), PrepareLine(report.prepares), "\n", Legend(report),
                      MemoryLine(report), VerdictLine(report));
}

std::string ReportJson(const RunReport& report) {
  Json object = ConfigJson(report);
  object["ok"] = report.mismatches == 0;
  object["mismatches"] = report.mismatches;
  object["steps"] = report.steps_run();
  AddTrafficJson(report.total, &object);
  for (const Direction direction : kDirections) {
    AddTrafficJson(report.directions[static_cast<std::size_t>(direction)],
                   &object[std::string(DirectionName(direction))]);
  }
  object["prepare"] = Json{{"count", report.prepares.count}};
  AddTimes(report.prepares, &object["prepare"]);
  object["memory"] = MemoryJson(report);
  object["wall_seconds"] = report.wall_seconds;
  if (report.first_mismatch.has_value()) object["first_mismatch"] = MismatchJson(*report.first_mismatch);
  return Dump(object);
}

std::string FailureJson(const std::string& error) {
  return Dump(Json{{"program", "a8a-dp-mla"}, {"version", kVersion}, {"ok", false}, {"error", error}});
}

}  // namespace a8a::dp_mla
