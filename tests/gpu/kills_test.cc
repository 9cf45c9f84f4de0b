// Ranks on GPUs that are killed at random instants, as on the host (tests/integration/lives): rank r is on device r
// modulo the number of devices. Not under MPS, whose clients die together.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/gpu/gpu_usage.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/lives/daemon_footprint.h"
#include "tests/integration/lives/kill_course.h"
#include "tests/support/temp_dir.h"

namespace a8a::testing {
namespace {

constexpr unsigned kSeed = 20261124;
constexpr char kHow[] =
    "from the kill of a rank of a running group to the return of its last survivor, rows of 1 MiB; every other kill is "
    "of a rank of a group that forms again, and not timed; every byte compared";
// What a driver keeps or gives back in its own time.
constexpr std::int64_t kUsedBytesSlack = std::int64_t{64} << 20;

std::string Environment(const char* name, const std::string& otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

// A8A_TEST_WORLD_SIZES: 2,3,8.
std::vector<int> WorldSizes() {
  std::vector<int> sizes;
  for (const auto& word : absl::StrSplit(Environment("A8A_TEST_WORLD_SIZES", "2,3,4,5,6,7,8"), ',')) {
    int size = 0;
    EXPECT_TRUE(absl::SimpleAtoi(word, &size)) << word;
    sizes.push_back(size);
  }
  return sizes;
}

// Of all world sizes together, at least.
int KillCount() {
  int count = 0;
  EXPECT_TRUE(absl::SimpleAtoi(Environment("A8A_TEST_KILLS", "100"), &count));
  return count;
}

class GpuKillsTest : public DaemonTest {
 protected:
  void SetUp() override {
    if (const std::string missing = GpuMissing(); !missing.empty()) GTEST_SKIP() << missing;
    StartDaemon({"--backend=cuda"});
  }
  void TearDown() override {
    // For who wants to see where the time went.
    const char* const path = std::getenv("A8A_TEST_DAEMON_LOG");
    if (daemon_ != nullptr && path != nullptr) std::ofstream(path) << daemon_->log();
  }

  [[nodiscard]] bool HoldsNothing() const {
    const v1::Stats stats = client_->Stats();
    std::int64_t leases = 0;
    for (const auto& device : stats.devices()) leases += device.lease_count();
    return stats.sessions_size() == 0 && stats.groups_size() == 0 && leases == 0;
  }

  TempDir directory_;
};

TEST_F(GpuKillsTest, SurvivorsHearOfItAndGoOnAndNothingIsLost) {
  KillCourse course({.rank_program = Environment("A8A_TEST_MORTAL_RANK", A8A_MORTAL_RANK_PATH),
                     .runtime_dir = daemon_->runtime_dir(),
                     .board_path = directory_.path() + "/board",
                     .seed = kSeed});
  const std::vector<int> sizes = WorldSizes();
  // 1 MiB rows, so that a good part of the time goes into copying; a new process takes half a second to join.
  KillCourse::Load load = {.world_size = sizes[0],
                           .kill_count = 2,
                           .row_bytes = 1 << 20,
                           .run_max = absl::Milliseconds(60),
                           .form_max = absl::Milliseconds(700)};
  ASSERT_TRUE(course.Run(load));
  ASSERT_TRUE(Eventually([&] { return HoldsNothing(); })) << client_->Stats().ShortDebugString();
  // After the first groups, when driver and daemon have what they keep.
  const DaemonFootprint before = DaemonFootprint::Of(daemon_->pid());
  const std::int64_t used_bytes = GpuUsedBytes();

  load.kill_count = (KillCount() + static_cast<int>(sizes.size()) - 1) / static_cast<int>(sizes.size());
  for (const int world_size : sizes) {
    load.world_size = world_size;
    const absl::Time start = absl::Now();
    ASSERT_TRUE(course.Run(load));
    std::cout << world_size << " ranks: " << load.kill_count << " kills in "
              << absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Milliseconds(1))) << std::endl;
  }

  std::fputs(course.Report().c_str(), stdout);
  course.WriteRecord(kHow);
  EXPECT_TRUE(Eventually([&] { return HoldsNothing(); })) << client_->Stats().ShortDebugString();
  EXPECT_TRUE(Eventually([&] { return DaemonFootprint::Of(daemon_->pid()).IsWithin(before); }))
      << DaemonFootprint::Of(daemon_->pid()) << "; before: " << before;
  EXPECT_TRUE(Eventually([&] { return GpuUsedBytes() <= used_bytes + kUsedBytesSlack; }));
  std::cout << "daemon: " << DaemonFootprint::Of(daemon_->pid()) << "; before: " << before
            << "\nGPU memory used: " << GpuUsedBytes() << " bytes; before: " << used_bytes << std::endl;
}

}  // namespace
}  // namespace a8a::testing
