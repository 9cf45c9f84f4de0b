// Ranks as processes: the layouts hold no pointer and no lock of one process, and a rank that is killed leaves the
// others able to end.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/check.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/case_run.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"

namespace a8a::kernels::test {
namespace {

// Rank processes of a group that was made before the fork. A rank says how it went by its exit status: GoogleTest's
// failures of a child end with the child.
class Processes {
 public:
  Processes(int count, const std::function<bool(int rank)>& body) {
    for (int rank = 0; rank < count; ++rank) {
      const pid_t pid = ::fork();
      A8A_CHECK(pid >= 0, "cannot fork");
      if (pid == 0) ::_exit(body(rank) ? 0 : 1);
      pids_.push_back(pid);
    }
  }
  // A failed test leaves no process behind.
  ~Processes() {
    for (const pid_t pid : pids_) {
      if (pid < 0) continue;
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  void Kill(int rank) { ::kill(pids_[static_cast<std::size_t>(rank)], SIGKILL); }

  // The wait status of waitpid.
  int Wait(int rank) {
    int status = 0;
    pid_t& pid = pids_[static_cast<std::size_t>(rank)];
    A8A_CHECK(::waitpid(pid, &status, 0) == pid, "cannot wait for a rank");
    pid = -1;
    return status;
  }

 private:
  std::vector<pid_t> pids_;
};

Case RandomRowsCase(Random& random, int world_size) {
  const auto size = static_cast<std::size_t>(world_size);
  std::vector<std::vector<std::int64_t>> rows(size, std::vector<std::int64_t>(size));
  for (auto& of_rank : rows) {
    for (std::int64_t& count : of_rank) count = Uniform(random, 0, 20);
  }
  return MakeDenseCase(rows, 24);
}

TEST(ProcessTest, RanksInProcessesAgreeWithTheOracle) {
  constexpr int kRounds = 20;
  const std::uint64_t seed = TestSeed();
  SCOPED_TRACE(testing::Message() << "A8A_TEST_SEED=" << seed);
  Random random(seed);
  for (int world_size = 2; world_size <= 8; ++world_size) {
    const Case a_case = RandomRowsCase(random, world_size);
    TestGroup group(world_size, 1, {2, a_case.WindowSizes()});
    CaseRun run(group, a_case);

    Processes processes(world_size, [&](int rank) {
      const std::vector<std::vector<std::byte>> last = Expected(a_case, kRounds - 1);
      bool good = run.PrepareOn(rank, 0).ok() && run.PrepareOn(rank, 1).ok();
      for (int round = 0; round < kRounds && good; ++round) {
        const int window = round / 2 % 2;
        good = (round % 3 == 0 ? run.OneShotOn(rank, window, round) : run.PreparedOn(rank, window, round)).ok();
      }
      const int window = (kRounds - 1) / 2 % 2;
      return good && std::ranges::equal(group.Part(rank, window), last[static_cast<std::size_t>(rank)]);
    });

    for (int rank = 0; rank < world_size; ++rank) {
      EXPECT_EQ(processes.Wait(rank), 0) << "rank " << rank << " of " << world_size;
    }
    EXPECT_EQ(group.CountDamagedGuardBytes(), 0);
  }
}

TEST(ProcessTest, SurvivorsOfAKilledRankAreTold) {
  constexpr int kWorldSize = 4;
  constexpr int kKilled = 2;
  Random random(1);
  const Case a_case = RandomRowsCase(random, kWorldSize);
  TestGroup group(kWorldSize, 1, {2, a_case.WindowSizes()});
  CaseRun run(group, a_case);

  // All-to-alls without end, until one fails: with ABORTED that names the rank, if all is well.
  Processes processes(kWorldSize, [&](int rank) {
    absl::Status status;
    for (int round = 0; status.ok(); ++round) status = run.OneShotOn(rank, round % 2, round);
    const bool told =
        absl::IsAborted(status) && testing::Matches(testing::HasSubstr("rank 2 died"))(std::string(status.message()));
    return told && host::TakeStatus(group.group(rank), 0) == status;
  });
  // In the middle: some epochs are over.
  WaitUntil([&] { return std::atomic_ref(group.channel(kKilled).control().epoch).load() > 20; });
  processes.Kill(kKilled);
  EXPECT_EQ(WTERMSIG(processes.Wait(kKilled)), SIGKILL);
  group.Abort(AbortReason::kRankDied, kKilled);

  for (const int rank : {0, 1, 3}) EXPECT_EQ(processes.Wait(rank), 0) << "rank " << rank;
  EXPECT_EQ(group.CountDamagedGuardBytes(), 0);
}

// A rank that is killed and not reported costs the others their deadline, no more.
TEST(ProcessTest, SurvivorsOfAKilledRankEndWithTheDeadline) {
  constexpr int kWorldSize = 3;
  constexpr int kKilled = 1;
  Random random(1);
  const Case a_case = RandomRowsCase(random, kWorldSize);
  TestGroup group(kWorldSize, 1, {2, a_case.WindowSizes()});
  CaseRun run(group, a_case);

  Processes processes(kWorldSize, [&](int rank) {
    absl::Status status;
    for (int round = 0; status.ok(); ++round) status = run.OneShotOn(rank, round % 2, round, 5 * kSecondNs);
    return absl::IsDeadlineExceeded(status);
  });
  WaitUntil([&] { return std::atomic_ref(group.channel(kKilled).control().epoch).load() > 20; });
  processes.Kill(kKilled);

  for (const int rank : {0, 2}) EXPECT_EQ(processes.Wait(rank), 0) << "rank " << rank;
  EXPECT_EQ(group.CountDamagedGuardBytes(), 0);
}

}  // namespace
}  // namespace a8a::kernels::test
