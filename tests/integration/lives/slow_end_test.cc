// A rank whose process the kernel is slow to take down, as that of a process with GPU memory: its peers do not wait for
// that.
#include <signal.h>
#include <sys/wait.h>

#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/client/child_process.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/slow_end.h"

namespace a8a::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

bool HasEnded(pid_t pid) {
  siginfo_t info = {};
  EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT), 0);
  return info.si_pid != 0;
}

class SlowEndTest : public DaemonTest {
 protected:
  [[nodiscard]] std::vector<std::string> Command(int rank) const {
    return {A8A_MORTAL_RANK_PATH, daemon_->runtime_dir(), "mortal", std::to_string(rank), "2", "30000"};
  }
};

TEST_F(SlowEndTest, PeersDoNotWaitForIt) {
  SlowEnd slow;
  std::optional<ChildProcess> dying;
  if (!slow.Start([&] { dying.emplace(Command(0)); })) GTEST_SKIP() << "no right to make a PID namespace";
  ChildProcess survivor(Command(1));
  ASSERT_THAT(survivor.ReadLine(), StartsWith("running "));
  ASSERT_THAT(dying->ReadLine(), StartsWith("running "));

  dying->Signal(SIGKILL);

  EXPECT_THAT(survivor.ReadLine(), AllOf(StartsWith("ended "), HasSubstr("ABORTED"), HasSubstr("rank 0 died")));
  EXPECT_FALSE(HasEnded(dying->pid()));
  // Its place is free at once.
  ChildProcess next(Command(0));
  EXPECT_THAT(survivor.ReadLine(), StartsWith("running "));
  slow.Release();
}

}  // namespace
}  // namespace a8a::testing
