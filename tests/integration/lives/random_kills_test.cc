// Ranks that are killed at random instants: before they join, while they join, register windows, prepare and run
// all-to-alls. The others get ABORTED that names the rank, form the group again under the same name with a new process,
// and see no wrong byte; at the end the daemon holds nothing.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/lives/daemon_footprint.h"
#include "tests/integration/lives/kill_course.h"
#include "tests/support/temp_dir.h"

namespace a8a::testing {
namespace {

// Without the sanitizers, which take ten times as long.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kKillsOfSize = 10;
#else
constexpr int kKillsOfSize = 200;
#endif
constexpr unsigned kSeed = 20261124;
constexpr char kHow[] =
    "from the kill of a rank of a running group to the return of its last survivor, rows of 16 KiB (4, 6, 8 ranks) or "
    "256 KiB (5, 7); every other kill is of a rank of a group that forms again, and not timed; every byte compared";

using RandomKillsTest = DaemonTest;

TEST_F(RandomKillsTest, SurvivorsHearOfItAndGoOnAndNothingIsLost) {
  // ThreadSanitizer has a file there while a program starts; a rank that is killed then leaves it behind.
  const TempDir directory;
  ::setenv("TMPDIR", directory.path().c_str(), /*overwrite=*/1);
  static_cast<void>(client_->Stats());
  const DaemonFootprint before = DaemonFootprint::Of(daemon_->pid());
  KillCourse course({.rank_program = A8A_MORTAL_RANK_PATH,
                     .runtime_dir = daemon_->runtime_dir(),
                     .board_path = directory.path() + "/board",
                     .seed = kSeed});

  for (const int world_size : {4, 5, 6, 7, 8}) {
    // Rows so large that half of the time or more goes into copying them, or so small that ranks wait for each other.
    ASSERT_TRUE(course.Run({.world_size = world_size,
                            .kill_count = kKillsOfSize,
                            .row_bytes = world_size % 2 == 0 ? 16384 : 262144,
                            .run_max = absl::Milliseconds(3),
                            .form_max = absl::Milliseconds(15)}));
  }

  EXPECT_TRUE(Eventually([&] {
    const v1::Stats stats = client_->Stats();
    return stats.sessions_size() == 0 && stats.groups_size() == 0 && stats.devices(0).leased_bytes() == 0 &&
           stats.devices(0).lease_count() == 0;
  })) << client_->Stats().ShortDebugString();
  EXPECT_TRUE(Eventually([&] { return DaemonFootprint::Of(daemon_->pid()).IsWithin(before); }))
      << DaemonFootprint::Of(daemon_->pid()) << "; before: " << before;
  std::fputs(course.Report().c_str(), stdout);
  course.WriteRecord(kHow);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  for (const Phase phase : {Phase::kStarting, Phase::kJoining, Phase::kRegistering, Phase::kAllToAll}) {
    EXPECT_GT(course.KillsIn(phase), 0) << kPhaseNames[static_cast<int>(phase)];
  }
#endif
}

}  // namespace
}  // namespace a8a::testing
