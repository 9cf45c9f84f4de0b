// `a8a-bench flood`: what one uid feels while another floods the daemon, and that nothing is left of a flood.
#ifndef A8A_CLIENT_TOOLS_BENCH_FLOOD_H_
#define A8A_CLIENT_TOOLS_BENCH_FLOOD_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/tools/bench/flood_board.h"
#include "client/tools/machine.h"
#include "client/tools/progress.h"
#include "client/tools/samples.h"

namespace a8a::bench {

struct FloodResult {
  int kind = 0;
  tools::Summary get_stats[kMeasuredPhases] = {};
  std::int64_t failures[kMeasuredPhases] = {};
  std::int64_t connects = 0;
  std::int64_t closed = 0;
  std::int64_t codes[17] = {};
  int joined = 0;
  int descriptors_before = 0;
  int descriptors_max = 0;
  int descriptors_after = 0;
  std::int64_t resident_bytes_before = 0;
  std::int64_t resident_bytes_max = 0;
  std::int64_t recovered_ms = 0;

  // The other uid was never refused, the daemon has its descriptors back, and everybody can join.
  [[nodiscard]] bool recovered() const;
};

struct FloodOutcome {
  absl::Status status;
  int interrupted_by = 0;
  std::vector<FloodResult> results = {};
};

// Runs the floods of `kinds`, indices of kFloodKinds, one after the other against the daemon at config.runtime_dir. No
// child process is left when it returns. The calling process must be single-threaded, and root: it takes two uids, and
// looks into the daemon's process.
[[nodiscard]] FloodOutcome RunFlood(const FloodConfig& config, const std::vector<int>& kinds,
                                    tools::Progress* progress);

[[nodiscard]] std::string FloodText(const tools::Machine& machine, const FloodConfig& config,
                                    const FloodOutcome& outcome);
[[nodiscard]] std::string FloodJson(const tools::Machine& machine, const FloodConfig& config,
                                    const FloodOutcome& outcome);

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_FLOOD_H_
