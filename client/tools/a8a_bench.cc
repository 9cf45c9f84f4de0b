// a8a-bench: benchmarks, one subcommand each.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/tools/bench/control.h"
#include "client/tools/bench/control_report.h"
#include "client/tools/bench/control_roles.h"
#include "client/tools/bench/cuda.h"
#include "client/tools/bench/cuda_roles.h"
#include "client/tools/bench/flood.h"
#include "client/tools/bench/flood_roles.h"
#include "client/tools/machine.h"
#include "client/tools/progress.h"
#include "client/tools/rank_processes.h"
#include "kernels/base/man_page.h"
#include "kernels/base/version.h"

namespace a8a::bench {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

constexpr char kFooter[] =
    "Progress goes to stderr, the report to stdout; with --json - the JSON object goes to stdout and\n"
    "the report to stderr.\n"
    "\n"
    "Exit status: 0 measured; 1 a measurement failed; 2 a flag is wrong and nothing was measured.";

struct Options {
  ControlConfig control;
  CudaConfig cuda;
  FloodConfig flood;
  std::vector<std::string> flood_kinds;
  enum class Benchmark { kControl, kCuda, kFlood } benchmark = Benchmark::kControl;
  std::string runtime_dir = "/run/a8a";
  std::string json;  // empty: none
  bool quiet = false;
};

// A subcommand with the flags that all have.
CLI::App* AddSubcommand(CLI::App* app, const char* name, const char* description, Options* options) {
  CLI::App* command = app->add_subcommand(name, description);
  command->footer(kFooter);
  // As in most programs, the last of a repeated flag counts.
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  command->add_option("--runtime-dir", options->runtime_dir, "Where the daemon's sockets are")
      ->check(CLI::Validator(
          [](const std::string& text) {
            if (!text.empty() && text.size() <= kMaxRuntimeDirBytes) return std::string();
            return absl::StrCat("has ", text.size(), " bytes, allowed are 1 to ", kMaxRuntimeDirBytes);
          },
          "DIR"))
      ->capture_default_str();
  command->add_option("--json", options->json, "Also write one JSON object to FILE; -: stdout")->type_name("FILE");
  command->add_flag("--quiet", options->quiet, "No progress");
  return command;
}

void AddCuda(CLI::App* app, Options* options) {
  CLI::App* cuda = AddSubcommand(app, "cuda", "All-to-alls on GPUs, by size, skew, layout and cadence", options);
  CudaConfig& config = options->cuda;
  cuda->add_option("--ranks", config.world_sizes, "World sizes, one after the other; rank r is on device r mod devices")
      ->check(CLI::Range(1, kMaxWorldSize))
      ->delimiter(',')
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->capture_default_str();
  cuda->add_option("--bytes", config.sizes_bytes, "Bytes that a rank sends, rounded to rows for every rank")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 34))
      ->delimiter(',')
      ->expected(1, kMaxSizes)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->capture_default_str();
  cuda->add_option("--row-bytes", config.row_bytes, "Of each row")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24))
      ->capture_default_str();
  cuda->add_option("--launches", config.launches, "In one graph")->check(CLI::Range(2, 1000))->capture_default_str();
  cuda->add_option("--repeats", config.repeats, "Of each measurement")
      ->check(CLI::Range(3, kMaxRepeats))
      ->capture_default_str();
  cuda->callback([options] { options->benchmark = Options::Benchmark::kCuda; });
}

void AddControl(CLI::App* app, Options* options) {
  CLI::App* control = AddSubcommand(
      app, "control", "Control plane: start of a group, many sessions and groups, Attach and GetStats", options);
  ControlConfig& config = options->control;
  control->add_option("--seconds", config.seconds, "For each of the four measurements")
      ->check(CLI::Range(1, 600))
      ->capture_default_str();
  control->add_option("--ranks", config.rank_count, "Ranks of the group, and processes that hold the sessions")
      ->check(CLI::Range(1, kMaxWorldSize))
      ->capture_default_str();
  control->add_option("--window-bytes", config.window_bytes, "Of each rank's window")
      ->check(CLI::Range(std::int64_t{1}, kMaxBufferBytes))
      ->capture_default_str();
  control->add_option("--sessions", config.session_count, "Sessions at once")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  control->add_option("--groups", config.group_count, "Groups at once, of the sessions in equal parts")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
}

void AddFlood(CLI::App* app, Options* options) {
  CLI::App* flood = AddSubcommand(
      app, "flood", "GetStats of one uid while another floods the daemon, which must let both in; needs root", options);
  for (const FloodKind& kind : kFloodKinds) options->flood_kinds.emplace_back(kind.name);
  flood->add_option("--kinds", options->flood_kinds, "Floods, one after the other")
      ->check(CLI::IsMember(options->flood_kinds))
      ->delimiter(',')
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->capture_default_str();
  FloodConfig& config = options->flood;
  flood->add_option("--milliseconds", config.milliseconds, "Before, during and after each flood")
      ->check(CLI::Range(1, 60'000))
      ->capture_default_str();
  flood->add_option("--connects", config.connects, "At least, of the flood of that name")
      ->check(CLI::Range(2, 10'000'000))
      ->capture_default_str();
  flood->add_option("--idle-connections", config.idle_connections, "On each socket")
      ->check(CLI::Range(2, 4096))
      ->capture_default_str();
  flood->add_option("--flood-uid", config.flood_uid, "Who floods")->capture_default_str();
  flood->add_option("--other-uid", config.other_uid, "Who asks for statistics")->capture_default_str();
  flood->callback([options] { options->benchmark = Options::Benchmark::kFlood; });
}

std::optional<int> ParseFlags(int argc, char** argv, Options* options) {
  CLI::App app("Benchmarks of a8a against a running a8a-daemon", "a8a-bench");
  app.set_version_flag("--version", absl::StrCat("a8a-bench ", kVersion));
  app.require_subcommand(1);
  AddControl(&app, options);
  AddCuda(&app, options);
  AddFlood(&app, options);
  AddManPageFlag(
      "--man-page",
      [&app] {
        return ManPage(app, {.see_also = {"a8actl(1)", "a8a-dp-mla(1)", "a8a-daemon(8)"}});
      },
      &app);
  try {
    app.parse(argc, argv);
    if (options->control.group_count > options->control.session_count) {
      throw CLI::ValidationError(
          "--groups", absl::StrCat(options->control.group_count, " groups need as many sessions, ", "--sessions is ",
                                   options->control.session_count));
    }
  } catch (const CLI::ParseError& error) {
    // CLI11 has a status of its own for each kind of error; here they all mean the same.
    return app.exit(error, std::cout, std::cerr) == 0 ? kExitOk : kExitUsage;
  }
  std::memcpy(options->control.runtime_dir, options->runtime_dir.c_str(), options->runtime_dir.size() + 1);
  // Names that two runs at the same time do not share.
  absl::SNPrintF(options->control.tag, sizeof(options->control.tag), "bench-%d-%08x", ::getpid(),
                 std::random_device()());
  options->cuda.runtime_dir = options->runtime_dir;
  options->cuda.tag = options->control.tag;
  std::memcpy(options->flood.runtime_dir, options->control.runtime_dir, sizeof(options->flood.runtime_dir));
  std::memcpy(options->flood.tag, options->control.tag, sizeof(options->flood.tag));
  return std::nullopt;
}

absl::Status WriteJson(const std::string& path, const std::string& json) {
  std::ofstream file(path);
  file << json << std::flush;
  if (file.good()) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "a8a-bench: %s\n", std::string(status.message()).c_str());
  return kExitFailed;
}

// Ends this process by `signal`, as it would have ended without the cleaning up.
[[noreturn]] void EndBySignal(int signal) {
  std::fprintf(stderr, "a8a-bench: interrupted by SIG%s, all children ended\n", ::sigabbrev_np(signal));
  ::signal(signal, SIG_DFL);
  ::raise(signal);
  std::abort();
}

// What a run leaves.
struct Report {
  absl::Status status;
  int interrupted_by = 0;
  std::string text;
  std::string json;
};

Report MeasureControl(const Options& options, tools::Progress* progress) {
  const tools::Machine machine = tools::DescribeMachine();
  const ControlOutcome outcome = RunControl(options.control, progress);
  return {outcome.status, outcome.interrupted_by, ControlText(machine, options.control, outcome.results),
          ControlJson(machine, options.control, outcome.results)};
}

Report MeasureCuda(const Options& options, tools::Progress* progress) {
  const CudaOutcome outcome = RunCuda(options.cuda, progress);
  return {outcome.status, outcome.interrupted_by, CudaText(options.cuda, outcome), CudaJson(options.cuda, outcome)};
}

Report MeasureFlood(const Options& options, tools::Progress* progress) {
  const tools::Machine machine = tools::DescribeMachine();
  std::vector<int> kinds;
  for (int kind = 0; kind < kFloodKindCount; ++kind) {
    const auto& names = options.flood_kinds;
    if (std::find(names.begin(), names.end(), kFloodKinds[kind].name) != names.end()) kinds.push_back(kind);
  }
  const FloodOutcome outcome = RunFlood(options.flood, kinds, progress);
  return {outcome.status, outcome.interrupted_by, FloodText(machine, options.flood, outcome),
          FloodJson(machine, options.flood, outcome)};
}

Report Measure(const Options& options, tools::Progress* progress) {
  switch (options.benchmark) {
    case Options::Benchmark::kControl:
      return MeasureControl(options, progress);
    case Options::Benchmark::kCuda:
      return MeasureCuda(options, progress);
    case Options::Benchmark::kFlood:
      break;
  }
  return MeasureFlood(options, progress);
}

int Main(int argc, char** argv) {
  if (const auto rank = tools::RankInvocation::FromArguments(argc, argv)) {
    if (rank->role == kFloodRole) return RunFloodRole(*rank);
    return rank->role == kCudaRole ? RunCudaRole(*rank) : RunControlRole(*rank);
  }
  Options options;
  if (const std::optional<int> status = ParseFlags(argc, argv, &options)) return *status;
  Report report;
  {
    tools::Progress progress(options.quiet ? tools::Progress::Verbosity::kQuiet : tools::Progress::Verbosity::kShown);
    report = Measure(options, &progress);
  }
  if (report.interrupted_by != 0) EndBySignal(report.interrupted_by);
  if (!report.status.ok()) return Fail(report.status);
  const bool json_on_stdout = options.json == "-";
  if (json_on_stdout) std::fputs(report.json.c_str(), stdout);
  std::fputs(report.text.c_str(), json_on_stdout ? stderr : stdout);
  if (!options.json.empty() && !json_on_stdout) {
    if (const absl::Status status = WriteJson(options.json, report.json); !status.ok()) return Fail(status);
  }
  return kExitOk;
}

}  // namespace
}  // namespace a8a::bench

int main(int argc, char** argv) { return a8a::bench::Main(argc, argv); }
