// The parent's part of a run: starts the rank processes, shows how far they are, and finds out why a run failed.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_SUPERVISOR_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_SUPERVISOR_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/examples/dp_mla/job.h"
#include "client/tools/progress.h"

namespace a8a::dp_mla {

struct RunOutcome {
  // OK when all ranks came to the end, or when they stopped at a mismatch, which is then in their RankStates. Otherwise
  // names the rank at fault and where it was.
  absl::Status status;
  int interrupted_by = 0;  // the signal that ended the run; 0: none
};

// Runs the job, each rank started through `launcher` (tools::RankProcesses) if there is one. No rank process is left
// when it returns. The calling process must be single-threaded.
[[nodiscard]] RunOutcome RunJob(const Job& job, const std::vector<std::string>& launcher, tools::Progress* progress);

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_SUPERVISOR_H_
