// What the daemon counts of a main job, against what the load makes of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "a8a/v1/stat_service.pb.h"
#include "absl/strings/str_cat.h"
#include "tests/integration/main_job/program.h"

namespace a8a::testing {
namespace {

constexpr int kRanks = 4;
constexpr int kStoppedRank = 1;
constexpr int kLayers = 3;
// The same in every step, so that what a rank has received follows from how many all-to-alls it has ended.
constexpr std::uint64_t kTokens[kRanks] = {3, 1, 0, 5};
constexpr std::uint64_t kAllTokens = 9;
constexpr std::uint64_t kTp2DpRowBytes = 100;
constexpr std::uint64_t kDp2TpRowBytes = 77;

// With as many dp groups as ranks, rank r receives one row for each of its tokens from every rank by tp2dp, and one row
// for each token of all ranks by dp2tp.
std::uint64_t Tp2DpRows(int rank, std::uint64_t all_to_alls) { return (all_to_alls + 1) / 2 * kTokens[rank] * kRanks; }
std::uint64_t Dp2TpRows(std::uint64_t all_to_alls) { return all_to_alls / 2 * kAllTokens; }

// Whether the counters of one rank are those of a whole number of all-to-alls.
bool AgreesWithLoad(const v1::RankStats& stats) {
  const v1::Counters& total = stats.total();
  const std::uint64_t k = total.all_to_alls();
  const std::uint64_t tp2dp = Tp2DpRows(stats.rank(), k);
  const std::uint64_t dp2tp = Dp2TpRows(k);
  if (stats.windows_size() != 2 || stats.channels_size() != 1 || k == 0) return false;
  const v1::WindowStats& first = stats.windows(0);
  const v1::WindowStats& second = stats.windows(1);
  return total.rows_received() == tp2dp + dp2tp &&
         total.bytes_received() == tp2dp * kTp2DpRowBytes + dp2tp * kDp2TpRowBytes &&
         // What it sends by tp2dp is what it receives by dp2tp, and the other way round.
         total.rows_sent() == (k + 1) / 2 * kAllTokens + k / 2 * kTokens[stats.rank()] * kRanks &&
         first.all_to_alls() + second.all_to_alls() == k && first.rows() == tp2dp && second.rows() == dp2tp &&
         first.bytes() == tp2dp * kTp2DpRowBytes && second.bytes() == dp2tp * kDp2TpRowBytes &&
         // Two Prepares begin each step; a rank may be between them and the first all-to-all of the next one.
         total.prepares() >= 2 * ((k + 2 * kLayers - 1) / (2 * kLayers)) &&
         total.prepares() <= 2 * (k / (2 * kLayers) + 1) && total.errors_size() == 0;
}

TEST(MainJobStatsTest, DaemonCountsWhatTheLoadMakes) {
  auto daemon = DaemonProcess::Start();
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  const TempDir directory;
  const std::string trace = directory.path() + "/load.csv";
  {
    std::ofstream file(trace);
    file << "step,rank0,rank1,rank2,rank3\n";
    for (int step = 0; step < 100'000; ++step) file << step << ",3,1,0,5\n";
  }
  Program job({A8A_DP_MLA_PATH, absl::StrCat("--runtime-dir=", (*daemon)->runtime_dir()),
               absl::StrCat("--trace=", trace), "--steps=0", absl::StrCat("--layers=", kLayers),
               absl::StrCat("--world-size=", kRanks), absl::StrCat("--row-bytes-tp2dp=", kTp2DpRowBytes),
               absl::StrCat("--row-bytes-dp2tp=", kDp2TpRowBytes), "--quiet"});
  ASSERT_TRUE(WaitForAllToAlls(**daemon));

  // With one rank stopped the others come to rest, and then their counters belong to one moment.
  const std::vector<ChildProcess> ranks = job.Children();
  const ChildProcess* stopped = FindRank(ranks, kStoppedRank);
  ASSERT_NE(stopped, nullptr);
  ::kill(stopped->pid, SIGSTOP);

  std::string seen;
  EXPECT_TRUE(PollStats(**daemon, [&seen](const v1::Stats& stats) {
    seen = stats.DebugString();
    return stats.groups_size() == 1 && stats.groups(0).ranks_size() == kRanks &&
           std::all_of(stats.groups(0).ranks().begin(), stats.groups(0).ranks().end(),
                       [](const v1::RankStats& rank) { return rank.rank() == kStoppedRank || AgreesWithLoad(rank); });
  })) << seen;
  job.Signal(SIGTERM);
  EXPECT_EQ(job.Wait().exit.signal, SIGTERM);
}

}  // namespace
}  // namespace a8a::testing
