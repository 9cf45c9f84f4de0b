// The end of a group, and how it and the peers wake a rank that sleeps.
#include <atomic>
#include <chrono>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/host/doorbell.h"
#include "kernels/host/wait.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/case_run.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"
#include "tests/unit/kernels/test_values.h"

namespace a8a::kernels::test {
namespace {

using testing::Each;
using testing::StartsWith;

Case ThreeRanks() {
  Case a_case = MakeDenseCase({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, 8);
  for (RankCase& rank : a_case.ranks) rank.window_bytes = kWindowBytes;
  return a_case;
}

class AbortTest : public testing::Test {
 protected:
  [[nodiscard]] std::uint64_t EpochOf(int rank) const {
    return std::atomic_ref(group_.channel(rank).control().epoch).load();
  }
  [[nodiscard]] bool Sleeps(int rank) const {
    return std::atomic_ref(group_.channel(rank).DoorbellOf(rank).sleeping).load() != 0;
  }

  TestGroup group_ = TestGroup::WithWindows(3, 2, 2, kWindowBytes);
  const Case case_ = ThreeRanks();
  CaseRun run_{group_, case_};
};

TEST_F(AbortTest, CallsAfterTheEndReturnAtOnceAndStoreNothing) {
  ASSERT_THAT(run_.Prepare(0), Each("OK"));
  ASSERT_THAT(run_.OneShot(1, 1), Each("OK"));
  run_.Poison(0);
  group_.Abort(AbortReason::kRankDied, 2);

  EXPECT_EQ(run_.OneShotOn(0, 0, 1).ToString(),
            "ABORTED: all-to-all on channel 0, epoch 3: the group has ended: rank 2 died");
  EXPECT_EQ(run_.PreparedOn(0, 0, 1).ToString(),
            "ABORTED: all-to-all on channel 0, epoch 4: the group has ended: rank 2 died");
  EXPECT_EQ(run_.PrepareOn(0, 0).ToString(),
            "ABORTED: prepare on channel 0, epoch 5: the group has ended: rank 2 died");

  for (int rank = 0; rank < 3; ++rank) run_.ExpectUntouched(rank, 0);
}

TEST_F(AbortTest, TakeStatusTellsTheErrorOnceAndStaysAborted) {
  group_.Abort(AbortReason::kRankLeft, 1);
  EXPECT_FALSE(run_.OneShotOn(0, 0, 1).ok());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(host::TakeStatus(group_.group(0), 0).ToString(),
              "ABORTED: all-to-all on channel 0, epoch 1: the group has ended: rank 1 left");
  }
  // A channel that nobody used.
  EXPECT_EQ(host::TakeStatus(group_.group(0), 1).code(), absl::StatusCode::kAborted);
}

TEST_F(AbortTest, FirstReasonStays) {
  group_.Abort(AbortReason::kRankDied, 2);
  group_.Abort(AbortReason::kDrained, -1);
  EXPECT_THAT(run_.OneShotOn(0, 0, 1).ToString(), testing::HasSubstr("rank 2 died"));
}

TEST_F(AbortTest, PlanOfAnAbortedPrepareClearsNoPair) {
  group_.Abort(AbortReason::kRankDied, 2);
  EXPECT_FALSE(run_.PrepareOn(0, 0).ok());
  // As if a peer that has gone wrong took the end back.
  group_.channel(0).abort_word() = 0;
  EXPECT_THAT(run_.PreparedOn(0, 0, 1, /*timeout_ns=*/0).ToString(),
              testing::HasSubstr("Prepare found an ended group"));
}

TEST_F(AbortTest, EndReachesRanksThatWait) {
  // Once as soon as they have started, once when they sleep.
  for (const bool asleep : {false, true}) {
    TestGroup group = TestGroup::WithWindows(3, 1, 1, kWindowBytes);
    CaseRun run(group, case_);
    std::thread daemon([&] {
      for (const int rank : {0, 1}) {
        const host::Channel channel = group.channel(rank);
        WaitUntil([&] {
          return asleep ? std::atomic_ref(channel.DoorbellOf(rank).sleeping).load() != 0
                        : std::atomic_ref(channel.control().epoch).load() == 1;
        });
      }
      group.Abort(AbortReason::kAbortedByRank, 2);
    });

    const Statuses statuses = run.Run({0, 1}, [&](int rank) { return run.OneShotOn(rank, 0, 1); });

    daemon.join();
    const std::string expected = "ABORTED: all-to-all on channel 0, epoch 1: the group has ended: rank 2 aborted it";
    EXPECT_EQ(statuses[0], expected);
    EXPECT_EQ(statuses[1], expected);
  }
}

TEST_F(AbortTest, EndReachesARankThatCopies) {
  constexpr std::int64_t kRowBytes = std::int64_t{1} << 20;
  constexpr std::int64_t kRows = 64;
  Case a_case = MakeDenseCase({{kRows}}, kRowBytes);
  a_case.ranks[0].window_bytes = kRows * kRowBytes;
  std::byte last = {};
  // Most of the time the first will do; a thread that ends the group too late has to try again.
  for (int attempt = 0; attempt < 200 && last != kPoison; ++attempt) {
    TestGroup group = TestGroup::WithWindows(1, 1, 1, kRows * kRowBytes);
    CaseRun run(group, a_case);
    run.Poison(0);
    std::thread daemon([&] {
      WaitUntil([&] { return std::atomic_ref(group.channel(0).control().epoch).load() == 1; });
      group.Abort(AbortReason::kDrained, -1);
    });

    const absl::Status status = run.OneShotOn(0, 0, 1);

    daemon.join();
    last = group.Part(0, 0).back();
    if (last == kPoison) {
      EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    }
  }
  EXPECT_EQ(last, kPoison) << "the whole of " << kRows << " MiB was copied each time";
}

// Sleeps on rank 0's doorbell as a waiter does, but for so long that only a ring can end the test in time.
class DoorbellTest : public AbortTest {
 protected:
  // Runs `ring` once the doorbell is armed; returns when the sleeper has been woken.
  void ExpectWokenBy(const std::function<void()>& ring) {
    Doorbell& doorbell = group_.channel(0).DoorbellOf(0);
    const auto start = std::chrono::steady_clock::now();
    std::thread sleeper([&] {
      const std::uint32_t sequence = host::ArmDoorbell(doorbell);
      while (std::atomic_ref(doorbell.sequence).load() == sequence) {
        host::SleepOnDoorbell(doorbell, sequence, 100 * kSecondNs);
      }
    });
    WaitUntil([&] { return Sleeps(0); });
    ring();
    sleeper.join();
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(50));
    EXPECT_FALSE(Sleeps(0));
  }
};

TEST_F(DoorbellTest, EndOfTheGroupRings) {
  ExpectWokenBy([&] { group_.Abort(AbortReason::kRankDied, 1); });
}

TEST_F(DoorbellTest, CreditRings) {
  ExpectWokenBy([&] { EXPECT_FALSE(run_.OneShotOn(1, 0, 1, /*timeout_ns=*/0).ok()); });
}

TEST_F(DoorbellTest, DoneRings) {
  // A rank whose input splits are wrong says done at once and needs no credit; its own credits have rung before.
  ASSERT_THAT(run_.Prepare(0), Each("OK"));
  ASSERT_THAT(run_.Prepare(1), Each("OK"));
  ASSERT_THAT(run_.Prepared(1, 1), Each("OK"));
  // A prepared all-to-all into the other window gives no credits.
  ExpectWokenBy([&] { EXPECT_FALSE(run_.PreparedOn(1, 0, 1, /*timeout_ns=*/0).ok()); });
}

TEST_F(DoorbellTest, NobodyIsWokenWhoDoesNotSleep) {
  Doorbell& doorbell = group_.channel(0).DoorbellOf(0);
  host::RingDoorbell(doorbell);
  EXPECT_EQ(doorbell.sequence, 0u);
}

using WaiterTest = AbortTest;

TEST_F(WaiterTest, EndsWithTheDeadlineAndReportsTheTime) {
  const host::Channel channel = group_.channel(0);
  host::Waiter waiter(channel, kShortTimeoutNs);
  EXPECT_EQ(waiter.TakeWaitedNs(), 0);

  Fault fault = Fault::kNone;
  while (fault == Fault::kNone) fault = waiter.Pause();

  EXPECT_EQ(fault, Fault::kDeadline);
  EXPECT_GE(waiter.TakeWaitedNs(), kShortTimeoutNs);
  EXPECT_EQ(waiter.TakeWaitedNs(), 0);
}

TEST_F(WaiterTest, LeavesTheDoorbellDisarmed) {
  const host::Channel channel = group_.channel(0);
  {
    host::Waiter waiter(channel, kLongTimeoutNs);
    while (!Sleeps(0)) ASSERT_EQ(waiter.Pause(), Fault::kNone);
    waiter.Progress();
    EXPECT_FALSE(Sleeps(0));
    while (!Sleeps(0)) ASSERT_EQ(waiter.Pause(), Fault::kNone);
  }
  EXPECT_FALSE(Sleeps(0));
}

TEST_F(WaiterTest, FarDeadlineDoesNotOverflow) {
  const host::Channel channel = group_.channel(0);
  host::Waiter waiter(channel, std::numeric_limits<std::int64_t>::max());
  for (int i = 0; i < 10'000 && !Sleeps(0); ++i) ASSERT_EQ(waiter.Pause(), Fault::kNone);
}

// More ranks than CPUs: they must hand the CPU on instead of spinning, and all finish.
TEST(ManyRanksTest, MoreRanksThanCpusMakeProgress) {
  const std::vector<std::vector<std::int64_t>> rows(kMaxWorldSize, std::vector<std::int64_t>(kMaxWorldSize, 1));
  const Case a_case = MakeDenseCase(rows, 16);
  TestGroup group(kMaxWorldSize, 1, {2, a_case.WindowSizes()});
  CaseRun run(group, a_case);
  for (int round = 0; round < 5; ++round) {
    ASSERT_THAT(run.OneShot(round % 2, round), Each("OK"));
    run.ExpectMoved(round % 2, round);
  }
}

}  // namespace
}  // namespace a8a::kernels::test
