// A process that is stopped is not dead: nothing of it is freed, its peers go by their own deadlines, and it goes on.
#include <signal.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/client/child_process.h"
#include "tests/integration/daemon/daemon_fixture.h"

namespace a8a::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class StoppedRankTest : public DaemonTest {
 protected:
  [[nodiscard]] std::vector<std::string> Command(int rank) const {
    return {A8A_MORTAL_RANK_PATH, daemon_->runtime_dir(), "mortal", std::to_string(rank), "2", "500"};
  }
};

// What it prints until it runs again, or stops printing.
std::string ReadUntilRunning(ChildProcess* rank) {
  std::string line = rank->ReadLine();
  while (absl::StartsWith(line, "late DEADLINE_EXCEEDED: ")) line = rank->ReadLine();
  return line;
}

TEST_F(StoppedRankTest, KeepsItsSessionAndLeasesAndGoesOnWhenItIsContinued) {
  ChildProcess first(Command(0));
  ChildProcess second(Command(1));
  const std::string running = ReadUntilRunning(&first);
  ASSERT_THAT(running, StartsWith("running "));
  ASSERT_EQ(ReadUntilRunning(&second), running);
  const v1::Stats before = client_->Stats();
  ASSERT_EQ(before.sessions_size(), 2);

  second.Signal(SIGSTOP);
  EXPECT_THAT(first.ReadLine(), AllOf(StartsWith("late DEADLINE_EXCEEDED: "), HasSubstr("rank 1")));
  // The first rank runs into several deadlines.
  absl::SleepFor(absl::Seconds(3));
  const v1::Stats after = client_->Stats();
  ASSERT_EQ(after.sessions_size(), 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(after.sessions(i).session_id(), before.sessions(i).session_id());
    EXPECT_EQ(after.sessions(i).lease_count(), before.sessions(i).lease_count());
    EXPECT_EQ(after.sessions(i).leased_bytes(), before.sessions(i).leased_bytes());
    EXPECT_GT(after.sessions(i).leased_bytes(), 0);
  }

  second.Signal(SIGCONT);
  EXPECT_EQ(ReadUntilRunning(&second), running);
  EXPECT_EQ(ReadUntilRunning(&first), running);
}

}  // namespace
}  // namespace a8a::testing
