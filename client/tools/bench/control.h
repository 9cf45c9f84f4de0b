// `a8a-bench control`: what the control plane costs. How long ranks wait until they can start, what a daemon weighs
// with many sessions and groups, and how fast it answers.
#ifndef A8A_CLIENT_TOOLS_BENCH_CONTROL_H_
#define A8A_CLIENT_TOOLS_BENCH_CONTROL_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/tools/bench/board.h"
#include "client/tools/progress.h"
#include "client/tools/samples.h"

namespace a8a::bench {

// GetStats is also timed with this many sessions and no groups.
inline constexpr int kStatsSessions = 100;

// Attach, join and a window on all ranks, by the rank that is last. The three phases add up to the whole.
struct GroupStart {
  std::int64_t repeats = 0;
  tools::Summary whole = {};
  tools::Summary attach = {};
  tools::Summary join = {};
  tools::Summary window = {};
};

struct Crowd {
  int sessions = 0;
  int groups = 0;
  std::int64_t resident_bytes_before = 0;
  std::int64_t resident_bytes = 0;
  tools::Summary get_stats = {};
};

struct ControlResults {
  GroupStart start;
  Crowd crowd;                  // as asked for
  Crowd sessions;               // kStatsSessions, no groups
  tools::Summary attach = {};   // the RPC, on a connection that is there
  tools::Summary connect = {};  // Client::Connect, connection included
};

struct ControlOutcome {
  absl::Status status;
  int interrupted_by = 0;
  ControlResults results = {};
};

// Runs all measurements against the daemon at config.runtime_dir. No child process is left when it returns. The
// calling process must be single-threaded.
[[nodiscard]] ControlOutcome RunControl(const ControlConfig& config, tools::Progress* progress);

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_CONTROL_H_
