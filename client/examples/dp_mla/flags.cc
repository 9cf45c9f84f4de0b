#include "client/examples/dp_mla/flags.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <limits>
#include <map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/man_page.h"
#include "kernels/base/version.h"
#include "kernels/include/limits.h"

namespace a8a::dp_mla {
namespace {

// Rows of DP-MLA have some 18 KB; 16 MiB a row times the largest step still fits every sum of offsets.
constexpr std::int64_t kMaxRowBytes = 16 << 20;
constexpr std::int32_t kMaxLayers = 1000;
constexpr int kMaxTimeoutSeconds = 24 * 3600;

constexpr char kDescription[] =
    "Replays a decode load: worker processes run the two all-to-alls of data-parallel MLA,\n"
    "tp2dp and dp2tp, layer by layer and step by step, through a running a8a-daemon, and\n"
    "compare every byte that arrives with an independent oracle.";
constexpr char kFooter[] =
    "Takes about half a minute on two cores with the defaults. Progress goes to stderr, the table\n"
    "to stdout; with --json one JSON object goes to stdout and the table to stderr (with --quiet:\n"
    "nowhere).\n"
    "\n"
    "Exit status: 0 every byte was right; 1 a byte differed (the first one is named) or the run\n"
    "failed; 2 a flag or the trace is wrong and nothing was run. Ended by SIGINT, SIGTERM or SIGHUP\n"
    "it ends its workers first and then itself by the same signal.\n"
    "\n"
    "To test the comparison itself, A8A_DP_MLA_CORRUPT=STEP,RANK in the environment flips one byte\n"
    "that RANK received in STEP before it is compared.";

// The trace that comes with the program: installed, else where it was built.
std::string DefaultTrace() {
  std::error_code ignored;
  const std::filesystem::path binary = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const std::filesystem::path installed = binary.parent_path() / ".." / A8A_DP_MLA_TRACE_FROM_BIN;
  if (std::filesystem::exists(installed, ignored)) return installed.lexically_normal().string();
  return A8A_DP_MLA_TRACE_IN_SOURCE;
}

void AddLoadFlags(CLI::App* app, Options* options) {
  app->add_option("--trace", options->trace, "CSV of token counts: step,rank0,rank1,...")
      ->default_str("decode_steps_dp8.csv, which comes with this program");
  app->add_option("--world-size", options->world_size, "Worker processes, one rank each")
      ->check(CLI::Range(1, kMaxWorldSize))
      ->capture_default_str();
  app->add_option("--dp", options->dp,
                  "Data-parallel groups; divides the world size. Column c of the trace adds to group c mod dp. "
                  "Default: the world size")
      ->check(CLI::Range(1, kMaxWorldSize));
  app->add_option("--layers", options->layers, "Layers a step, two all-to-alls each")
      ->check(CLI::Range(1, kMaxLayers))
      ->capture_default_str();
  app->add_option("--steps", options->steps, "Steps of the trace, from its first; 0: all")
      ->check(CLI::Range(std::int64_t{0}, kMaxAllToAlls))
      ->default_str(absl::StrCat(kDefaultSteps, ", or all of a shorter trace"));
  app->add_option("--row-bytes-tp2dp", options->row_bytes[0], "Bytes of a row of tp2dp")
      ->check(CLI::Range(std::int64_t{1}, kMaxRowBytes))
      ->capture_default_str();
  app->add_option("--row-bytes-dp2tp", options->row_bytes[1], "Bytes of a row of dp2tp")
      ->check(CLI::Range(std::int64_t{1}, kMaxRowBytes))
      ->capture_default_str();
  // Read as signed first: CLI11 would take -1 for the largest number.
  app->add_option("--seed", options->seed, "Of the data")
      ->check(CLI::Range(std::int64_t{0}, std::numeric_limits<std::int64_t>::max()))
      ->capture_default_str();
}

void AddRunFlags(CLI::App* app, Options* options) {
  static const std::map<std::string, Mode> kModes = {{"prepared", Mode::kPrepared}, {"oneshot", Mode::kOneShot}};
  app->add_option("--mode", options->mode,
                  "prepared: splits exchanged once a step for all layers; oneshot: by every all-to-all")
      ->transform(CLI::CheckedTransformer(kModes, CLI::ignore_case).description(""))
      ->type_name("prepared|oneshot")
      ->default_str("prepared");
  app->add_flag("--free-running", options->free_running,
                "No barrier before each all-to-all: ranks run ahead of each other as in a server. Times then include "
                "the wait for ranks that still make or compare data");
  app->add_option("--runtime-dir", options->runtime_dir, "Where the daemon's sockets are")->capture_default_str();
  app->add_option("--backend", options->backend,
                  "Where the data lies; auto: on the host where the daemon has it, else on GPUs")
      ->check(CLI::IsMember({"auto", "host", "cuda"}))
      ->capture_default_str();
  app->add_option("--launcher", options->launcher,
                  "Command that each worker is started through, such as \"numactl --membind=0\"; words are parted by "
                  "spaces, and {rank} in one is the rank");
  app->add_option("--timeout", options->timeout_seconds,
                  "Seconds for one all-to-all, and for joining; a run that stands still for twice that and 30 s is "
                  "ended")
      ->check(CLI::Range(1, kMaxTimeoutSeconds))
      ->capture_default_str();
  app->add_flag("--json", options->json, "One JSON object on stdout");
  app->add_flag("--quiet", options->quiet, "No progress");
}

}  // namespace

std::optional<int> ParseFlags(int argc, const char* const* argv, Options* options) {
  CLI::App app(kDescription, "a8a-dp-mla");
  app.footer(kFooter);
  // As in most programs, the last of a repeated flag counts.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", absl::StrCat("a8a-dp-mla ", kVersion));
  options->trace = DefaultTrace();
  AddLoadFlags(&app, options);
  AddRunFlags(&app, options);
  AddManPageFlag(
      "--man-page",
      [&app] {
        return ManPage(app, {.see_also = {"a8a-bench(1)", "a8a-daemon(8)"}});
      },
      &app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 has a status of its own for each kind of error; here they all mean the same.
    return app.exit(error, std::cout, std::cerr) == 0 ? kExitOk : kExitUsage;
  }
  return std::nullopt;
}

}  // namespace a8a::dp_mla
