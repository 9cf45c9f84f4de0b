// From flags and trace to a job.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/examples/dp_mla/flags.h"
#include "kernels/base/status_macros.h"

namespace a8a::dp_mla {
namespace {

constexpr char kCorruptVariable[] = "A8A_DP_MLA_CORRUPT";
// Capacities are padded to this many rows, as servers pad their batches.
constexpr std::int32_t kCapacityMultiple = 8;

absl::StatusOr<int> DpGroupCount(const Options& options) {
  const int dp = options.dp == 0 ? options.world_size : options.dp;
  if (options.world_size % dp == 0) return dp;
  return absl::InvalidArgumentError(absl::StrCat("--dp ", dp, " does not divide --world-size ", options.world_size));
}

absl::StatusOr<std::int64_t> StepCount(const Options& options, const TokenTable& tokens) {
  const std::int64_t asked = options.steps.value_or(std::min(kDefaultSteps, tokens.step_count()));
  if (asked > tokens.step_count()) {
    return absl::InvalidArgumentError(absl::StrCat("--steps ", asked, " is more than the ", tokens.step_count(),
                                                   " steps of the trace ", options.trace));
  }
  const std::int64_t steps = asked == 0 ? tokens.step_count() : asked;
  const std::int64_t all_to_alls = steps * options.layers * kDirectionCount;
  if (all_to_alls <= kMaxAllToAlls) return steps;
  return absl::InvalidArgumentError(absl::StrCat(steps, " steps x ", options.layers, " layers x 2 are ", all_to_alls,
                                                 " all-to-alls, the limit is ", kMaxAllToAlls));
}

// The next multiple above `rows`, so that there is always at least one row of padding.
std::int32_t CapacityFor(std::int64_t rows) {
  return static_cast<std::int32_t>((rows / kCapacityMultiple + 1) * kCapacityMultiple);
}

Shape MakeShape(int world_size, const TokenTable& tokens, std::int64_t step_count) {
  std::int64_t most_in_group = 0;
  std::int64_t most_in_total = 0;
  for (std::int64_t step = 0; step < step_count; ++step) {
    const absl::Span<const std::int32_t> row = tokens.step(step);
    most_in_group = std::max<std::int64_t>(most_in_group, *std::max_element(row.begin(), row.end()));
    most_in_total = std::max(most_in_total, std::accumulate(row.begin(), row.end(), std::int64_t{0}));
  }
  return Shape{.world_size = world_size,
               .dp_group_count = tokens.group_count,
               .group_capacity = CapacityFor(most_in_group),
               .total_capacity = CapacityFor(most_in_total)};
}

// Names that two runs at the same time do not share, and a secret that keeps others out.
void NameGroup(JobConfig* config) {
  std::random_device random;
  const auto word = [&random] { return absl::StrFormat("%08x", random()); };
  absl::SNPrintF(config->group_name, sizeof(config->group_name), "dp-mla-%d-%s", ::getpid(), word());
  absl::SNPrintF(config->secret, sizeof(config->secret), "%s%s%s%s", word(), word(), word(), word());
}

absl::Status SetRuntimeDir(const std::string& runtime_dir, JobConfig* config) {
  if (runtime_dir.empty() || runtime_dir.size() > kMaxRuntimeDirBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--runtime-dir has ", runtime_dir.size(), " bytes, allowed are 1 to ", kMaxRuntimeDirBytes));
  }
  std::memcpy(config->runtime_dir, runtime_dir.c_str(), runtime_dir.size() + 1);
  return absl::OkStatus();
}

absl::Status SetFaultToInject(const char* text, JobConfig* config) {
  if (text == nullptr) return absl::OkStatus();
  const std::vector<std::string> parts = absl::StrSplit(text, ',');
  const bool valid = parts.size() == 2 && absl::SimpleAtoi(parts[0], &config->corrupt_step) &&
                     absl::SimpleAtoi(parts[1], &config->corrupt_rank) && config->corrupt_step >= 0 &&
                     config->corrupt_step < config->step_count && config->corrupt_rank >= 0 &&
                     config->corrupt_rank < config->shape.world_size;
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(kCorruptVariable, " is \"", absl::CEscape(text),
                                                 "\", expected STEP,RANK with a step below ", config->step_count,
                                                 " and a rank below ", config->shape.world_size));
}

}  // namespace

absl::StatusOr<PlannedJob> PlanJob(const Options& options) {
  A8A_ASSIGN_OR_RETURN(const int dp_group_count, DpGroupCount(options));
  A8A_ASSIGN_OR_RETURN(const TokenTable columns, ReadTrace(options.trace));
  PlannedJob job;
  A8A_ASSIGN_OR_RETURN(job.tokens, FoldColumns(columns, dp_group_count, options.trace));
  JobConfig& config = job.config;
  A8A_ASSIGN_OR_RETURN(config.step_count, StepCount(options, job.tokens));
  config.shape = MakeShape(options.world_size, job.tokens, config.step_count);
  std::copy_n(options.row_bytes, kDirectionCount, config.row_bytes);
  config.layer_count = options.layers;
  config.seed = options.seed;
  config.mode = options.mode;
  config.free_running = options.free_running;
  config.timeout_ms = std::int64_t{options.timeout_seconds} * 1000;
  options.backend.copy(config.backend, sizeof(config.backend) - 1);
  A8A_RETURN_IF_ERROR(SetRuntimeDir(options.runtime_dir, &config));
  NameGroup(&config);
  A8A_RETURN_IF_ERROR(SetFaultToInject(std::getenv(kCorruptVariable), &config));
  return job;
}

}  // namespace a8a::dp_mla
