// Ranks as real processes: a program starts itself again once for each rank and watches over the children.
//
//   int main(int argc, char** argv) {
//     if (auto rank = RankInvocation::FromArguments(argc, argv)) return RunRank(*rank);   // in a child
//     auto shared = SharedMemory::Create(...);
//     auto ranks = RankProcesses::Start({.role = "rank", .count = 8, .shared_fd = (*shared)->fd()});
//     RankProcesses::Outcome outcome = (*ranks)->Supervise(absl::Milliseconds(100), on_tick);
//
// What holds however it ends: no child outlives the parent (not even a parent that was killed), and when one rank fails
// the others are killed rather than left waiting for it. Ranks ignore the terminal's SIGINT and SIGHUP, which reach the
// parent as well: so an interrupted run is reported as interrupted, not as eight failures.
//
// The parent must be single-threaded when it starts ranks (it forks, and a parent's death is that of the thread that
// forked). Not thread-safe.
#ifndef A8A_CLIENT_TOOLS_RANK_PROCESSES_H_
#define A8A_CLIENT_TOOLS_RANK_PROCESSES_H_

#include <signal.h>
#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace a8a::tools {

// What a child was started as.
struct RankInvocation {
  std::string role;
  int rank = 0;
  int shared_fd = -1;

  // Empty unless the arguments are those of a child.
  [[nodiscard]] static std::optional<RankInvocation> FromArguments(int argc, const char* const* argv);
};

class RankProcesses {
 public:
  struct Options {
    std::string role;    // tells the child what to do
    int count = 0;       // ranks 0 .. count - 1
    int shared_fd = -1;  // stays open in the children under the same number
    // A command that each child is started through, such as numactl or unshare with options: it must run what follows
    // it as its own process or as its child, and end as that does. "{rank}" in a word is the rank. Empty: none.
    std::vector<std::string> launcher;
  };

  // How one rank ended.
  struct RankEnd {
    int rank = 0;
    int wait_status = 0;

    [[nodiscard]] bool killed_by_signal() const;
    // "was killed by SIGSEGV (Segmentation fault)" or "exited with status 1".
    [[nodiscard]] std::string Describe() const;
  };

  struct Outcome {
    int interrupted_by = 0;       // signal that asked the parent to end; 0: none
    absl::Status stopped;         // what on_tick returned, if it was an error
    std::vector<RankEnd> failed;  // ranks that had ended otherwise than with status 0 before the rest was killed

    [[nodiscard]] bool ok() const { return interrupted_by == 0 && stopped.ok() && failed.empty(); }
  };

  // Blocks SIGCHLD, SIGINT, SIGTERM and SIGHUP for this thread, and starts the ranks.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RankProcesses>> Start(const Options& options);

  // Kills and reaps what still runs, and restores the signal mask.
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  // Waits until all ranks have ended, one has failed, a signal asks this process to end, or on_tick, called every
  // `tick`, returns an error. In all cases no rank runs any more when it returns.
  [[nodiscard]] Outcome Supervise(absl::Duration tick, absl::FunctionRef<absl::Status()> on_tick);

 private:
  RankProcesses();
  // Reaps the ranks that have ended by themselves.
  [[nodiscard]] std::vector<RankEnd> Reap();
  void KillAll();

  sigset_t original_mask_;
  std::vector<pid_t> pids_;  // pids_[rank]; -1 once reaped
};

}  // namespace a8a::tools

#endif  // A8A_CLIENT_TOOLS_RANK_PROCESSES_H_
