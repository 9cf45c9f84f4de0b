// Ranks that are killed at random instants: while they join, register windows or run all-to-alls. The others get
// ABORTED that names the rank, form the group again under the same name with a new process, and see no wrong byte; at
// the end the daemon holds nothing.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/client/child_process.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/temp_dir.h"

namespace a8a::testing {
namespace {

// Without the sanitizers, which take ten times as long.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kKillsOfSize = 10;
#else
constexpr int kKillsOfSize = 200;
#endif

std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class RandomKillsTest : public DaemonTest {
 protected:
  // One rank's process, and the group that it was last seen running in; 0: none.
  struct Rank {
    std::unique_ptr<ChildProcess> process;
    std::uint64_t group_id = 0;
  };

  void StartRank(int rank) {
    ranks_[static_cast<std::size_t>(rank)] = {std::make_unique<ChildProcess>(std::vector<std::string>{
                                                  A8A_MORTAL_RANK_PATH, daemon_->runtime_dir(), "mortal",
                                                  std::to_string(rank), std::to_string(ranks_.size()), "30000"}),
                                              0};
    newest_ = rank;
  }

  // How a group ended for a rank.
  struct End {
    std::int64_t ns = 0;
    std::string text;
  };

  // Reads what a rank says next. False after a failed expectation.
  bool ReadLine(int rank, End* end) {
    Rank& from = ranks_[static_cast<std::size_t>(rank)];
    const std::string line = from.process->ReadLine();
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
    if (words.size() == 2 && words[0] == "running") return absl::SimpleAtoi(words[1], &from.group_id);
    from.group_id = 0;
    const bool aborted = words.size() == 3 && words[0] == "ended" && absl::SimpleAtoi(words[1], &end->ns) &&
                         absl::StartsWith(words[2], "ABORTED: ");
    EXPECT_TRUE(aborted) << "rank " << rank << ": " << line;
    if (aborted) end->text = words[2];
    return aborted;
  }

  // In the group that the newest process runs in: it has never run in another.
  bool WaitUntilAllRun() {
    End end;
    Rank& newest = ranks_[static_cast<std::size_t>(newest_)];
    while (newest.group_id == 0) {
      if (!ReadLine(newest_, &end)) return false;
    }
    for (int rank = 0; rank < static_cast<int>(ranks_.size()); ++rank) {
      while (ranks_[static_cast<std::size_t>(rank)].group_id != newest.group_id) {
        if (!ReadLine(rank, &end)) return false;
      }
    }
    return true;
  }

  // Kills a rank of a group that runs; all others must hear of it. False after a failed expectation.
  bool KillRunning(int victim, int signal) {
    const std::int64_t kill_ns = NowNs();
    ranks_[static_cast<std::size_t>(victim)].process->Signal(signal);
    std::int64_t last_ns = 0;
    for (int rank = 0; rank < static_cast<int>(ranks_.size()); ++rank) {
      if (rank == victim) continue;
      End end;
      if (!ReadLine(rank, &end)) return false;
      const bool names = absl::StrContains(end.text, absl::StrCat("rank ", victim, " died"));
      EXPECT_TRUE(names) << "rank " << rank << " about rank " << victim << ": " << end.text;
      if (!names) return false;
      last_ns = std::max(last_ns, end.ns - kill_ns);
    }
    latencies_ms_.push_back(static_cast<double>(last_ns) / 1e6);
    StartRank(victim);
    return true;
  }

  // Kills a rank wherever it is; what the others make of it is read before all run again.
  void KillAnywhere(int victim, int signal) {
    ranks_[static_cast<std::size_t>(victim)].process->Signal(signal);
    StartRank(victim);
  }

  [[nodiscard]] int Random(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }

  void RunKills(int world_size) {
    constexpr int kSignals[] = {SIGKILL, SIGSEGV, SIGTERM};
    ranks_.resize(static_cast<std::size_t>(world_size));
    for (int rank = 0; rank < world_size; ++rank) StartRank(rank);
    for (int kill = 0; kill < kKillsOfSize; kill += 2) {
      ASSERT_TRUE(WaitUntilAllRun()) << "before kill " << kill << " of " << world_size << " ranks, seed " << kSeed;
      absl::SleepFor(absl::Microseconds(Random(3000)));
      ASSERT_TRUE(KillRunning(Random(world_size), kSignals[Random(3)]))
          << "kill " << kill << " of " << world_size << " ranks, seed " << kSeed;
      // While the group forms again, most of the time.
      absl::SleepFor(absl::Microseconds(Random(15'000)));
      KillAnywhere(Random(world_size), kSignals[Random(3)]);
    }
    ASSERT_TRUE(WaitUntilAllRun());
    ranks_.clear();
  }

  [[nodiscard]] std::ptrdiff_t DaemonDescriptors() const {
    const std::filesystem::directory_iterator begin(absl::StrCat("/proc/", daemon_->pid(), "/fd"));
    return std::distance(begin, std::filesystem::directory_iterator());
  }

  static constexpr unsigned kSeed = 20261124;
  std::mt19937 random_{kSeed};
  std::vector<Rank> ranks_;
  int newest_ = 0;                    // the rank whose process was started last
  std::vector<double> latencies_ms_;  // from the kill to the last survivor's return
};

TEST_F(RandomKillsTest, SurvivorsHearOfItAndGoOnAndNothingIsLost) {
  // ThreadSanitizer has a file there while a program starts; a rank that is killed then leaves it behind.
  const TempDir directory;
  ::setenv("TMPDIR", directory.path().c_str(), /*overwrite=*/1);
  static_cast<void>(client_->Stats());
  const std::ptrdiff_t descriptors = DaemonDescriptors();

  for (const int world_size : {4, 5, 6, 7, 8}) {
    RunKills(world_size);
    if (HasFatalFailure()) return;
  }

  EXPECT_TRUE(Eventually([&] {
    const v1::Stats stats = client_->Stats();
    return stats.sessions_size() == 0 && stats.groups_size() == 0 && stats.devices(0).leased_bytes() == 0;
  })) << client_->Stats().ShortDebugString();
  EXPECT_TRUE(Eventually([&] { return DaemonDescriptors() <= descriptors; }))
      << DaemonDescriptors() << " descriptors, " << descriptors << " before";
  std::sort(latencies_ms_.begin(), latencies_ms_.end());
  const std::size_t count = latencies_ms_.size();
  std::printf("%zu kills; from the kill to the last survivor's return: p50 %.2f, p99 %.2f, max %.2f ms\n", count,
              latencies_ms_[count / 2], latencies_ms_[count * 99 / 100], latencies_ms_.back());
}

}  // namespace
}  // namespace a8a::testing
