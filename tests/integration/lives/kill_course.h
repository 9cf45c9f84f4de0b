// Kills ranks at random instants and looks at what the others make of it: a course of groups under one name, in which
// each rank is a process of its own (mortal_rank), and a new one takes the place of each that is killed.
//
//   KillCourse course({.rank_program = ..., .runtime_dir = daemon.runtime_dir(), .board_path = ..., .seed = 1});
//   ASSERT_TRUE(course.Run({.world_size = 4, .kill_count = 100, .row_bytes = 16384}));
//   std::puts(course.Report().c_str());
//
// Failures are failures of the test that runs. Not thread-safe.
#ifndef A8A_TESTS_INTEGRATION_LIVES_KILL_COURSE_H_
#define A8A_TESTS_INTEGRATION_LIVES_KILL_COURSE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/integration/client/child_process.h"
#include "tests/integration/lives/phase_board.h"

namespace a8a::testing {

class KillCourse {
 public:
  struct Setting {
    std::string rank_program;
    std::string runtime_dir;
    std::string board_path;
    unsigned seed = 0;
  };
  struct Load {
    int world_size = 0;
    int kill_count = 0;
    std::int64_t row_bytes = 0;
    // A running group is left alone for at most this long; about as long as a few all-to-alls take.
    absl::Duration run_max;
    // And a forming one for at most this long; about as long as a new process takes to be one of it.
    absl::Duration form_max;
  };

  explicit KillCourse(Setting setting)
      : setting_(std::move(setting)), board_(setting_.board_path), random_(setting_.seed) {}

  // Forms a group, kills in turn a rank of the running group and one of the group that forms again, and ends all ranks.
  // Survivors of a running group must get ABORTED that names the rank and the epoch; all must see right bytes. False
  // after a failed expectation, which names the seed.
  [[nodiscard]] bool Run(const Load& load);

  // How often it killed whom, and p50, p99 and maximum of the time from the kill of a rank of a running group to the
  // return of its last survivor.
  [[nodiscard]] std::string Report() const;
  // Writes the same, with every such time, as one JSON object to the file that the environment names by
  // A8A_TEST_RECORD, if it does; `how` says what else there is to know.
  void WriteRecord(const std::string& how) const;
  // Kills of ranks in this phase.
  [[nodiscard]] int KillsIn(Phase phase) const { return phase_counts_[static_cast<std::size_t>(phase)]; }
  // Of the kills of running ranks; sorted, in milliseconds.
  [[nodiscard]] std::vector<double> LatenciesMs() const;

 private:
  // One rank's process, and the group that it was last seen running in; 0: none.
  struct Rank {
    std::unique_ptr<ChildProcess> process;
    std::uint64_t group_id = 0;
  };
  // How a group ended for a rank.
  struct End {
    std::int64_t ns = 0;
    std::string text;
  };
  struct Kill {
    int world_size = 0;
    int signal = 0;
    double latency_ms = 0;
  };

  void StartRank(int rank);
  // Signals it, where it is then; a new process takes its place.
  void Signal(int victim, int signal);
  // Reads what a rank says next. False after a failed expectation, as below.
  bool ReadLine(int rank, End* end);
  // In the group that the newest process runs in: it has never run in another.
  bool WaitUntilAllRun();
  // Kills a rank of a group that runs; all others must hear of it.
  bool KillRunning(int victim, int signal);
  [[nodiscard]] int RandomBelow(std::int64_t end) { return static_cast<int>(random_() % static_cast<unsigned>(end)); }
  void SleepAtMost(absl::Duration longest);
  [[nodiscard]] std::string Json(const std::string& how) const;

  const Setting setting_;
  const PhaseBoard board_;
  std::mt19937 random_;
  Load load_;
  std::vector<Rank> ranks_;
  int newest_ = 0;  // the rank whose process was started last
  std::vector<Kill> kills_;
  std::array<int, kPhaseCount> phase_counts_ = {};
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_LIVES_KILL_COURSE_H_
