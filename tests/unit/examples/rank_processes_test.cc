// This test is itself the program whose ranks are started: see main at the end.
#include "client/tools/rank_processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/tools/process_barrier.h"
#include "client/tools/shared_memory.h"
#include "kernels/base/unique_fd.h"

namespace a8a::tools {
namespace {

constexpr int kRanks = 4;
constexpr int kOddRank = 2;
constexpr absl::Duration kTick = absl::Milliseconds(10);
constexpr int kPatienceMs = 60'000;

// What ranks and parent share.
struct Board {
  ProcessBarrier started;  // kRanks
  std::atomic<pid_t> pids[kRanks];
};

class RankProcessesTest : public ::testing::Test {
 protected:
  RankProcessesTest() : memory_(SharedMemory::Create(sizeof(Board)).value()) {
    EXPECT_TRUE(board().started.Init(kRanks).ok());
  }

  [[nodiscard]] Board& board() const { return *reinterpret_cast<Board*>(memory_->data()); }

  [[nodiscard]] std::unique_ptr<RankProcesses> Start(const std::string& role) const {
    return RankProcesses::Start({.role = role, .count = kRanks, .shared_fd = memory_->fd()}).value();
  }
  RankProcesses::Outcome RunRole(const std::string& role) const {
    return Start(role)->Supervise(kTick, [] { return absl::OkStatus(); });
  }
  [[nodiscard]] bool all_started() const {
    return std::all_of(std::begin(board().pids), std::end(board().pids), [](const auto& pid) { return pid > 0; });
  }
  void ExpectNoRankLeft() const {
    ASSERT_TRUE(all_started());
    for (const std::atomic<pid_t>& pid : board().pids) {
      EXPECT_EQ(::kill(pid, 0), -1) << "rank process " << pid << " still exists";
    }
  }

  const std::unique_ptr<SharedMemory> memory_;
};

TEST_F(RankProcessesTest, EachRankRunsOnceWithItsNumberAndTheSharedMemory) {
  const RankProcesses::Outcome outcome = RunRole("succeed");

  EXPECT_TRUE(outcome.ok());
  for (const std::atomic<pid_t>& pid : board().pids) EXPECT_GT(pid, 0);
  ExpectNoRankLeft();
}

TEST_F(RankProcessesTest, RanksAreStartedThroughTheLauncher) {
  const std::unique_ptr<RankProcesses> ranks =
      RankProcesses::Start({.role = "launched",
                            .count = kRanks,
                            .shared_fd = memory_->fd(),
                            .launcher = {"env", "A8A_TEST_LAUNCHED=as {rank} of 4"}})
          .value();

  EXPECT_TRUE(ranks->Supervise(kTick, [] { return absl::OkStatus(); }).ok());
}

TEST_F(RankProcessesTest, ALauncherThatIsNotThereIsSaid) {
  const std::unique_ptr<RankProcesses> ranks =
      RankProcesses::Start(
          {.role = "succeed", .count = 1, .shared_fd = memory_->fd(), .launcher = {"/no/such/launcher"}})
          .value();

  const RankProcesses::Outcome outcome = ranks->Supervise(kTick, [] { return absl::OkStatus(); });

  ASSERT_EQ(outcome.failed.size(), 1u);
  EXPECT_EQ(outcome.failed[0].Describe(), "could not be started");
}

TEST_F(RankProcessesTest, OneFailingRankEndsTheOthersAndIsNamed) {
  const RankProcesses::Outcome outcome = RunRole("one-exits-3");

  ASSERT_EQ(outcome.failed.size(), 1u);
  EXPECT_EQ(outcome.failed[0].rank, kOddRank);
  EXPECT_EQ(outcome.failed[0].Describe(), "exited with status 3");
  ExpectNoRankLeft();
}

TEST_F(RankProcessesTest, OneKilledRankEndsTheOthersAndIsNamed) {
  const RankProcesses::Outcome outcome = RunRole("one-is-killed");

  ASSERT_EQ(outcome.failed.size(), 1u);
  EXPECT_EQ(outcome.failed[0].rank, kOddRank);
  EXPECT_EQ(outcome.failed[0].Describe(), "was killed by SIGKILL (Killed)");
  ExpectNoRankLeft();
}

TEST_F(RankProcessesTest, ErrorOfTheTickEndsAllRanks) {
  const RankProcesses::Outcome outcome =
      Start("wait")->Supervise(kTick, [] { return absl::DeadlineExceededError("stalled"); });

  EXPECT_EQ(outcome.stopped.message(), "stalled");
  EXPECT_TRUE(outcome.failed.empty());
}

TEST_F(RankProcessesTest, SignalToTheParentEndsAllRanks) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const RankProcesses::Outcome outcome = Start("wait")->Supervise(kTick, [this, signal] {
      if (all_started()) ::kill(::getpid(), signal);
      return absl::OkStatus();
    });

    EXPECT_EQ(outcome.interrupted_by, signal);
  }
  ExpectNoRankLeft();
}

TEST_F(RankProcessesTest, SignalToTheWholeGroupIsAnInterruptionNotAFailure) {
  const RankProcesses::Outcome outcome = Start("wait")->Supervise(kTick, [this] {
    if (!all_started()) return absl::OkStatus();
    for (const std::atomic<pid_t>& pid : board().pids) ::kill(pid, SIGTERM);
    ::kill(::getpid(), SIGTERM);
    return absl::OkStatus();
  });

  EXPECT_EQ(outcome.interrupted_by, SIGTERM);
}

TEST_F(RankProcessesTest, DestructionEndsRanksThatNobodySupervises) {
  {
    const std::unique_ptr<RankProcesses> ranks = Start("wait");
    while (board().pids[kRanks - 1] == 0) absl::SleepFor(absl::Milliseconds(1));
  }

  EXPECT_EQ(::kill(board().pids[kRanks - 1], 0), -1);
}

TEST_F(RankProcessesTest, RanksDieWithAParentThatIsKilled) {
  const pid_t parent = ::fork();
  ASSERT_GE(parent, 0);
  if (parent == 0) {
    const std::unique_ptr<RankProcesses> ranks = Start("wait");
    ::pause();
    ::_exit(1);
  }
  UniqueFd ranks[kRanks];
  for (int rank = 0; rank < kRanks; ++rank) {
    while (board().pids[rank] == 0) absl::SleepFor(absl::Milliseconds(1));
    ranks[rank].Reset(static_cast<int>(::syscall(SYS_pidfd_open, board().pids[rank].load(), 0)));
    ASSERT_TRUE(ranks[rank].valid());
  }

  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);

  for (const UniqueFd& rank : ranks) {
    pollfd ended = {.fd = rank.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&ended, 1, kPatienceMs), 1);
  }
}

TEST(RankInvocationTest, OrdinaryArgumentsAreNone) {
  const char* const ordinary[] = {"program", "--ranks", "rank", "1", "3"};
  const char* const cut[] = {"program", "--a8a-rank-process", "rank", "1"};
  const char* const no_number[] = {"program", "--a8a-rank-process", "rank", "x", "3"};

  EXPECT_FALSE(RankInvocation::FromArguments(5, ordinary).has_value());
  EXPECT_FALSE(RankInvocation::FromArguments(4, cut).has_value());
  EXPECT_FALSE(RankInvocation::FromArguments(5, no_number).has_value());
  EXPECT_FALSE(RankInvocation::FromArguments(1, ordinary).has_value());
}

// A rank of the test.
int RunRank(const RankInvocation& invocation) {
  const auto memory = SharedMemory::Open(invocation.shared_fd, sizeof(Board));
  if (!memory.ok()) return 9;
  Board& board = *reinterpret_cast<Board*>((*memory)->data());
  board.pids[invocation.rank] = ::getpid();
  board.started.Wait();
  if (invocation.role == "succeed") return 0;
  if (invocation.role == "launched") {
    const char* const launched = std::getenv("A8A_TEST_LAUNCHED");
    return launched != nullptr && launched == absl::StrCat("as ", invocation.rank, " of 4") ? 0 : 1;
  }
  if (invocation.rank == kOddRank && invocation.role == "one-exits-3") return 3;
  if (invocation.rank == kOddRank && invocation.role == "one-is-killed") ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

}  // namespace
}  // namespace a8a::tools

int main(int argc, char** argv) {
  if (const auto rank = a8a::tools::RankInvocation::FromArguments(argc, argv)) return a8a::tools::RunRank(*rank);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
