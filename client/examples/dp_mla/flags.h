// The command line of a8a-dp-mla.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_FLAGS_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/examples/dp_mla/job.h"

namespace a8a::dp_mla {

// Exit statuses, one meaning each.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // a byte differed, or the run did not come to its end
inline constexpr int kExitUsage = 2;   // nothing was run: a flag or the trace is wrong

inline constexpr std::int64_t kDefaultSteps = 100;

struct Options {
  std::string trace;
  int world_size = 8;
  int dp = 0;  // 0: world_size
  std::int32_t layers = 4;
  std::optional<std::int64_t> steps;  // 0: all of the trace; not given: kDefaultSteps, or all of a shorter one
  std::int64_t row_bytes[kDirectionCount] = {18432, 16384};
  std::string runtime_dir = "/run/a8a";
  std::string backend = "auto";
  std::string launcher;  // words, by spaces
  std::uint64_t seed = 1;
  Mode mode = Mode::kPrepared;
  bool free_running = false;
  int timeout_seconds = 30;
  bool json = false;
  bool quiet = false;
};

// Fills *options. Returns the exit status if the program is to end here (--help, --version, or an error, which it has
// printed).
[[nodiscard]] std::optional<int> ParseFlags(int argc, const char* const* argv, Options* options);

// A job and what it was made of.
struct PlannedJob {
  JobConfig config;
  TokenTable tokens;  // by dp group; all steps of the trace
};

// Reads the trace and works out the job: folding, capacities, names, and the fault to inject if the environment asks
// for one (A8A_DP_MLA_CORRUPT=STEP,RANK).
//
// Errors: whatever they are, the user's: a bad trace (with file and line), or flags that do not fit each other or it.
[[nodiscard]] absl::StatusOr<PlannedJob> PlanJob(const Options& options);

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_FLAGS_H_
