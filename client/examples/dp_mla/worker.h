// One rank of the main job: joins the group, and for every step derives its splits, runs the all-to-alls of all layers
// and compares what arrived.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_WORKER_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_WORKER_H_

namespace a8a::dp_mla {

// Runs rank `rank` of the job that descriptor `job_fd` names, in a process of its own. Returns the exit status of the
// process: 0, or 1 after it has written a mismatch or an error into its RankState.
[[nodiscard]] int RunRank(int rank, int job_fd);

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_WORKER_H_
