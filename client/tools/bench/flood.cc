#include "client/tools/bench/flood.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/tools/bench/flood_roles.h"
#include "client/tools/rank_processes.h"
#include "client/tools/shared_memory.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/version.h"

namespace a8a::bench {
namespace {

constexpr absl::Duration kFloodTick = absl::Milliseconds(10);
// Over the time that a flood is meant to take, for a daemon that does not keep up.
constexpr absl::Duration kFloodLateness = absl::Seconds(120);
// How long a daemon may take to be as it was. Closed connections are noticed within 250 ms.
constexpr absl::Duration kRecoveryMax = absl::Seconds(30);
// Descriptors that the daemon can still open in the flood of that name.
constexpr rlim_t kDescriptorsLeft = 32;

int DescriptorCount(pid_t pid) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(absl::StrCat("/proc/", pid, "/fd").c_str()),
                                                      &::closedir);
  if (directory == nullptr) return -1;
  int count = -2;  // "." and ".."
  while (::readdir(directory.get()) != nullptr) ++count;
  return count;
}

// 0 if the process does not exist.
std::int64_t ResidentBytes(pid_t pid) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      std::fopen(absl::StrCat("/proc/", pid, "/statm").c_str(), "re"), &std::fclose);
  long long total_pages = 0;
  long long resident_pages = 0;
  if (file == nullptr || std::fscanf(file.get(), "%lld %lld", &total_pages, &resident_pages) != 2) return 0;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

// Takes the daemon's descriptors away while it exists, all but a few.
class DescriptorSqueeze {
 public:
  explicit DescriptorSqueeze(pid_t pid) : pid_(pid) {
    ::prlimit(pid_, RLIMIT_NOFILE, nullptr, &original_);
    rlimit squeezed = original_;
    squeezed.rlim_cur = std::min(original_.rlim_cur, static_cast<rlim_t>(DescriptorCount(pid)) + kDescriptorsLeft);
    ::prlimit(pid_, RLIMIT_NOFILE, &squeezed, nullptr);
  }
  ~DescriptorSqueeze() { ::prlimit(pid_, RLIMIT_NOFILE, &original_, nullptr); }
  DescriptorSqueeze(const DescriptorSqueeze&) = delete;
  DescriptorSqueeze& operator=(const DescriptorSqueeze&) = delete;

 private:
  const pid_t pid_;
  rlimit original_ = {};
};

// One kind of flood: moves its children through the phases, and watches the daemon.
class Flood {
 public:
  static absl::StatusOr<std::unique_ptr<Flood>> Create(const FloodConfig& config) {
    A8A_ASSIGN_OR_RETURN(auto memory, tools::SharedMemory::Create(sizeof(FloodBoard)));
    auto* board = new (memory->data()) FloodBoard();
    board->config = config;
    return std::unique_ptr<Flood>(new Flood(std::move(memory), board));
  }

  // Returns the signal that interrupted it, or 0.
  absl::StatusOr<int> Run(tools::Progress* progress) {
    A8A_ASSIGN_OR_RETURN(
        const auto children,
        tools::RankProcesses::Start({.role = kFloodRole, .count = kFloodChildren, .shared_fd = memory_->fd()}));
    start_ = absl::Now();
    const auto outcome = children->Supervise(kFloodTick, [&] { return OnTick(progress); });
    if (outcome.interrupted_by != 0) return outcome.interrupted_by;
    if (!outcome.failed.empty()) return ErrorOf(outcome.failed);
    A8A_RETURN_IF_ERROR(outcome.stopped);
    return 0;
  }

  [[nodiscard]] FloodResult Result() const {
    FloodResult result;
    result.kind = board_->config.kind;
    for (int phase = 0; phase < kMeasuredPhases; ++phase) {
      result.get_stats[phase] = tools::Summarize(board_->get_stats[phase].After(0));
      result.failures[phase] = board_->failures[phase];
    }
    result.connects = board_->connects;
    result.closed = board_->closed;
    std::copy(std::begin(board_->codes), std::end(board_->codes), result.codes);
    result.joined = board_->joined;
    result.descriptors_before = board_->descriptors_before;
    result.descriptors_max = board_->descriptors_max;
    result.descriptors_after = board_->descriptors_after;
    result.resident_bytes_before = board_->resident_bytes_before;
    result.resident_bytes_max = board_->resident_bytes_max;
    result.recovered_ms = board_->recovered_ms;
    return result;
  }

 private:
  Flood(std::unique_ptr<tools::SharedMemory> memory, FloodBoard* board) : memory_(std::move(memory)), board_(board) {}

  absl::Status OnTick(tools::Progress* progress) {
    const absl::Time now = absl::Now();
    progress->Update(absl::StrCat(kFloodKinds[board_->config.kind].name, ": phase ", board_->phase.load(), ", ",
                                  absl::ToInt64Seconds(now - start_), " s"));
    const absl::Duration phase = absl::Milliseconds(board_->config.milliseconds);
    if (now - start_ > 3 * phase + kFloodLateness) return absl::DeadlineExceededError("the flood did not end");
    switch (board_->phase) {
      case kStarting:
        if (board_->ready == kFloodChildren) Enter(kBefore);
        break;
      case kBefore:
        if (now - entered_ >= phase) BeginFlood();
        break;
      case kDuring:
        WatchFlood();
        if (now - entered_ >= phase && board_->flooded == kFlooderCount) EndFlood();
        break;
      case kAfter:
        WatchRecovery();
        if (now - entered_ >= phase && (board_->recovered_ms >= 0 || now - entered_ > kRecoveryMax)) Enter(kFarewell);
        break;
      default:
        break;
    }
    return absl::OkStatus();
  }

  void Enter(FloodPhase phase) {
    entered_ = absl::Now();
    board_->phase = phase;
  }

  void BeginFlood() {
    board_->descriptors_before = DescriptorCount(DaemonPid());
    board_->resident_bytes_before = ResidentBytes(DaemonPid());
    if (board_->config.kind == kDescriptors) squeeze_ = std::make_unique<DescriptorSqueeze>(DaemonPid());
    Enter(kDuring);
  }

  void WatchFlood() {
    board_->descriptors_max = std::max(board_->descriptors_max, DescriptorCount(DaemonPid()));
    board_->resident_bytes_max = std::max(board_->resident_bytes_max, ResidentBytes(DaemonPid()));
  }

  void EndFlood() {
    squeeze_.reset();
    board_->recovered_ms = -1;
    Enter(kAfter);
  }

  void WatchRecovery() {
    board_->descriptors_after = DescriptorCount(DaemonPid());
    if (board_->recovered_ms >= 0 || board_->descriptors_after > board_->descriptors_before) return;
    board_->recovered_ms = absl::ToInt64Milliseconds(absl::Now() - entered_);
  }

  [[nodiscard]] pid_t DaemonPid() const { return static_cast<pid_t>(board_->daemon_pid); }

  [[nodiscard]] absl::Status ErrorOf(const std::vector<tools::RankProcesses::RankEnd>& failed) const {
    const auto& end = failed[0];
    const char* error = board_->errors[end.rank];
    return absl::AbortedError(absl::StrCat(kFloodKinds[board_->config.kind].name, ": child ", end.rank, ": ",
                                           *error == '\0' ? end.Describe() : error));
  }

  const std::unique_ptr<tools::SharedMemory> memory_;
  FloodBoard* const board_;
  absl::Time start_;
  absl::Time entered_;
  std::unique_ptr<DescriptorSqueeze> squeeze_;
};

constexpr const char* kPhaseNames[kMeasuredPhases] = {"before", "during", "after"};

std::string CodesText(const FloodResult& result) {
  std::string text = absl::StrCat(result.connects, " connects, ", result.closed, " closed by the daemon");
  for (int code = 0; code < 17; ++code) {
    if (result.codes[code] == 0) continue;
    absl::StrAppend(&text, ", ", result.codes[code], " ",
                    absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
  }
  return text;
}

std::string ResultText(const FloodResult& result) {
  std::string text = absl::StrFormat("\n%s: %s\n", kFloodKinds[result.kind].name, kFloodKinds[result.kind].description);
  for (int phase = 0; phase < kMeasuredPhases; ++phase) {
    const tools::Summary& s = result.get_stats[phase];
    absl::StrAppendFormat(&text, "  GetStats %-7s %8d calls %3d failed %10.1f %10.1f %10.1f\n", kPhaseNames[phase],
                          s.count, result.failures[phase], s.p50_us, s.p99_us, s.max_us);
  }
  absl::StrAppendFormat(&text,
                        "  flood: %s\n"
                        "  daemon: descriptors %d before, %d most, %d after; resident %.1f MiB before, %.1f most\n"
                        "  %s: descriptors back after %d ms, %d of %d joins worked\n",
                        CodesText(result), result.descriptors_before, result.descriptors_max, result.descriptors_after,
                        static_cast<double>(result.resident_bytes_before) / (1 << 20),
                        static_cast<double>(result.resident_bytes_max) / (1 << 20),
                        result.recovered() ? "recovered" : "NOT RECOVERED", result.recovered_ms, result.joined,
                        kFloodChildren);
  return text;
}

using Json = nlohmann::ordered_json;

Json ResultJson(const FloodResult& result) {
  Json json = {{"flood", kFloodKinds[result.kind].name}, {"description", kFloodKinds[result.kind].description}};
  for (int phase = 0; phase < kMeasuredPhases; ++phase) {
    const tools::Summary& s = result.get_stats[phase];
    json["get_stats_us"][kPhaseNames[phase]] = {{"count", s.count},
                                                {"failed", result.failures[phase]},
                                                {"p50", s.p50_us},
                                                {"p99", s.p99_us},
                                                {"max", s.max_us}};
  }
  json["connects"] = result.connects;
  json["closed"] = result.closed;
  json["codes"] = Json::object();
  for (int code = 0; code < 17; ++code) {
    if (result.codes[code] == 0) continue;
    json["codes"][absl::StatusCodeToString(static_cast<absl::StatusCode>(code))] = result.codes[code];
  }
  json["descriptors"] = {
      {"before", result.descriptors_before}, {"most", result.descriptors_max}, {"after", result.descriptors_after}};
  json["resident_bytes"] = {{"before", result.resident_bytes_before}, {"most", result.resident_bytes_max}};
  json["recovered_ms"] = result.recovered_ms;
  json["joined"] = result.joined;
  json["recovered"] = result.recovered();
  return json;
}

}  // namespace

bool FloodResult::recovered() const {
  return failures[0] + failures[1] + failures[2] == 0 && recovered_ms >= 0 && joined == kFloodChildren;
}

FloodOutcome RunFlood(const FloodConfig& config, const std::vector<int>& kinds, tools::Progress* progress) {
  FloodOutcome outcome;
  if (::geteuid() != 0) {
    outcome.status = absl::PermissionDeniedError("flood takes two uids and looks into the daemon, which needs root");
    return outcome;
  }
  for (const int kind : kinds) {
    FloodConfig of_kind = config;
    of_kind.kind = kind;
    const absl::StatusOr<std::unique_ptr<Flood>> flood = Flood::Create(of_kind);
    const absl::StatusOr<int> interrupted_by = flood.ok() ? (*flood)->Run(progress) : flood.status();
    outcome.status = interrupted_by.status();
    if (!interrupted_by.ok()) return outcome;
    outcome.interrupted_by = *interrupted_by;
    if (*interrupted_by != 0) return outcome;
    outcome.results.push_back((*flood)->Result());
  }
  return outcome;
}

std::string FloodText(const tools::Machine& machine, const FloodConfig& config, const FloodOutcome& outcome) {
  std::string text = absl::StrFormat(
      "machine   %s, %d cores usable, load %.2f before\n"
      "kernel    %s\n"
      "compiler  %s; a8a %s\n"
      "measured  GetStats of uid %u, one call each 2 ms, for %d ms before, during and after a flood by %d processes "
      "of\n"
      "          uid %u against the daemon in %s; percentiles by nearest rank\n\n"
      "%-49s %10s %10s %10s\n",
      machine.cpu, machine.core_count, machine.load_1min, machine.kernel, machine.compiler, kVersion, config.other_uid,
      config.milliseconds, kFlooderCount, config.flood_uid, config.runtime_dir, "", "p50 us", "p99 us", "max us");
  for (const FloodResult& result : outcome.results) absl::StrAppend(&text, ResultText(result));
  return text;
}

std::string FloodJson(const tools::Machine& machine, const FloodConfig& config, const FloodOutcome& outcome) {
  Json json = {{"program", "a8a-bench"},
               {"benchmark", "flood"},
               {"version", kVersion},
               {"machine",
                {{"cpu", machine.cpu},
                 {"cores", machine.core_count},
                 {"load_1min", machine.load_1min},
                 {"kernel", machine.kernel},
                 {"compiler", machine.compiler}}},
               {"milliseconds", config.milliseconds},
               {"flooders", kFlooderCount},
               {"floods", Json::array()}};
  for (const FloodResult& result : outcome.results) json["floods"].push_back(ResultJson(result));
  return json.dump(/*indent=*/1, /*indent_char=*/' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace a8a::bench
