#include "daemon/memory/system_memory.h"

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

constexpr std::int64_t kMachineBytes = std::int64_t{1000} * 1024;

// A tree of files that looks like /proc and /sys.
class SystemMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "system_memory_XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
    Write("/proc/meminfo", "MemTotal:        1000 kB\nHugePages_Free:     7\nHugepagesize:    2048 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }

  std::string root_;
};

TEST_F(SystemMemoryTest, LinesAreInBytesWhereTheyHaveAUnit) {
  EXPECT_THAT(ReadMeminfo("MemTotal", root_), IsOkAndHolds(kMachineBytes));
  EXPECT_THAT(ReadMeminfo("HugePages_Free", root_), IsOkAndHolds(7));
  EXPECT_THAT(ReadMeminfo("MemTota", root_), StatusIs(StatusCode::kInternal, HasSubstr("no line MemTota")));
}

TEST_F(SystemMemoryTest, WithoutCgroupsItIsTheMachines) {
  EXPECT_THAT(UsableMemoryBytes(root_), IsOkAndHolds(kMachineBytes));
}

TEST_F(SystemMemoryTest, NoLimitIsNone) {
  Write("/proc/self/cgroup", "0::/system.slice/a8a.service\n");
  Write("/sys/fs/cgroup/system.slice/a8a.service/memory.max", "max\n");
  EXPECT_THAT(UsableMemoryBytes(root_), IsOkAndHolds(kMachineBytes));
}

TEST_F(SystemMemoryTest, TheLowestLimitAboveTheProcessCounts) {
  Write("/proc/self/cgroup", "0::/system.slice/a8a.service\n");
  Write("/sys/fs/cgroup/system.slice/a8a.service/memory.max", "700000\n");
  EXPECT_THAT(UsableMemoryBytes(root_), IsOkAndHolds(700000));

  Write("/sys/fs/cgroup/system.slice/memory.max", "600000\n");
  EXPECT_THAT(UsableMemoryBytes(root_), IsOkAndHolds(600000));
}

// In a container the root of the hierarchy is its own cgroup, whatever the path says.
TEST_F(SystemMemoryTest, AContainersLimitIsSeenThroughAPathThatIsNot) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "500000\n");
  EXPECT_THAT(UsableMemoryBytes(root_), IsOkAndHolds(500000));

  Write("/proc/self/cgroup", "0::/../other/pod\n");
  EXPECT_THAT(UsableMemoryBytes(root_), IsOkAndHolds(500000));
}

TEST_F(SystemMemoryTest, VersionOneLimitsCountToo) {
  Write("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:hugetlb,memory:/docker/a:b\n0::/\n");
  Write("/sys/fs/cgroup/memory/docker/a:b/memory.limit_in_bytes", "400000\n");
  Write("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1\n");  // of another hierarchy's path
  EXPECT_THAT(UsableMemoryBytes(root_), IsOkAndHolds(400000));
}

TEST_F(SystemMemoryTest, AMachineThatDoesNotSayIsAnError) {
  Write("/proc/meminfo", "");
  EXPECT_THAT(UsableMemoryBytes(root_), StatusIs(StatusCode::kInternal));
}

}  // namespace
}  // namespace a8a::daemon
