// Ranks that never come, or come after their peers have given up.
#include <atomic>
#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/host/cells.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/case_run.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"
#include "tests/unit/kernels/test_values.h"

namespace a8a::kernels::test {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr int kLateRank = 2;

Case ThreeRanks() {
  Case a_case = MakeDenseCase({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, 8);
  for (RankCase& rank : a_case.ranks) rank.window_bytes = kWindowBytes;
  return a_case;
}

// What ranks 0 and 1 must hold of a round that rank 2 missed.
Case WithoutLateRank() {
  Case a_case = ThreeRanks();
  // The rows keep their places; the pairs with rank 2 disagree, which the oracle does not move.
  a_case.ranks[kLateRank].input_splits = {0, 0, 0};
  a_case.ranks[kLateRank].output_splits = {0, 0, 0};
  return a_case;
}

enum class Kind { kOneShot, kPrepared };

class LateRankTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    // Windows 0 and 1 are prepared while everybody is there.
    ASSERT_THAT(run_.Prepare(0), Each("OK"));
    ASSERT_THAT(run_.Prepare(1), Each("OK"));
  }

  absl::Status CallOn(int rank, int window, int round, std::int64_t timeout_ns) {
    return GetParam() == Kind::kOneShot ? run_.OneShotOn(rank, window, round, timeout_ns)
                                        : run_.PreparedOn(rank, window, round, timeout_ns);
  }

  Statuses CallOn(const std::vector<int>& ranks, int window, int round, std::int64_t timeout_ns = kLongTimeoutNs) {
    return run_.Run(ranks, [&](int rank) { return CallOn(rank, window, round, timeout_ns); });
  }

  // Ranks 0 and 1 go through an epoch that rank 2 misses.
  void MissEpoch(int window, int round) {
    for (const int rank : {0, 1}) run_.Poison(rank, window);
    const Statuses statuses = CallOn({0, 1}, window, round, kShortTimeoutNs);
    for (const int rank : {0, 1}) {
      EXPECT_THAT(statuses[static_cast<std::size_t>(rank)], StartsWith("DEADLINE_EXCEEDED: all-to-all on channel 0"));
      EXPECT_THAT(statuses[static_cast<std::size_t>(rank)], HasSubstr("of rank 2"));
      missed_run_.ExpectMoved(rank, window, round);
    }
  }

  // All ranks together again.
  void ExpectInStep(int round) {
    for (const int window : {0, 1, 1}) {
      run_.Poison(window);
      ASSERT_THAT(CallOn({0, 1, 2}, window, round), Each("OK"));
      run_.ExpectMoved(window, round);
    }
  }

  TestGroup group_ = TestGroup::WithWindows(3, 1, 2, kWindowBytes);
  const Case case_ = ThreeRanks();
  const Case missed_case_ = WithoutLateRank();
  CaseRun run_{group_, case_};
  CaseRun missed_run_{group_, missed_case_};
};

INSTANTIATE_TEST_SUITE_P(Kinds, LateRankTest, testing::Values(Kind::kOneShot, Kind::kPrepared),
                         [](const auto& instance) {
                           return instance.param == Kind::kOneShot ? "OneShot" : "Prepared";
                         });

TEST_P(LateRankTest, RankThatNeverComesIsNamed) {
  const Statuses statuses = CallOn({0, 1}, 0, 1, kShortTimeoutNs);

  const std::string waited = GetParam() == Kind::kOneShot ? "credit" : "done";
  const auto expected = [&](int rank) {
    return absl::StrCat("DEADLINE_EXCEEDED: all-to-all on channel 0, epoch 3: rank ", rank, " waited 50 ms for the ",
                        waited, " of rank 2, whose last done is of epoch 2");
  };
  EXPECT_THAT(statuses, ElementsAre(expected(0), expected(1), ""));
}

TEST_P(LateRankTest, LateRankEndsAtOnceStoresNothingAndIsInStepAgain) {
  for (const int missed : {1, 2, 3, 4}) {
    SCOPED_TRACE(testing::Message() << missed << " epochs missed");
    for (int i = 0; i < missed; ++i) MissEpoch(i % 2, i);
    for (const int rank : {0, 1}) {
      run_.Poison(rank, 0);
      run_.Poison(rank, 1);
    }

    // Alone: if it waited for anybody, it would wait for the long timeout.
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < missed; ++i) {
      EXPECT_THAT(CallOn({kLateRank}, i % 2, i)[kLateRank], StartsWith("DEADLINE_EXCEEDED")) << "late epoch " << i;
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));

    for (const int rank : {0, 1}) {
      run_.ExpectUntouched(rank, 0);
      run_.ExpectUntouched(rank, 1);
    }
    ExpectInStep(10 + missed);
  }
}

TEST_P(LateRankTest, LateRankIsTakenByThoseWhoStillWait) {
  run_.Poison(0);
  std::atomic<bool> gave_up = false;
  const Statuses statuses = run_.Run([&](int rank) {
    if (rank == kLateRank) WaitUntil([&] { return gave_up.load(); });
    if (rank != 0) return CallOn(rank, 0, 5, kLongTimeoutNs);
    const absl::Status status = CallOn(0, 0, 5, kShortTimeoutNs);
    gave_up = true;
    return status;
  });

  EXPECT_THAT(statuses[0], StartsWith("DEADLINE_EXCEEDED"));
  EXPECT_EQ(statuses[1], "OK");
  EXPECT_THAT(statuses[2], StartsWith("DEADLINE_EXCEEDED"));
  run_.ExpectMoved(1, 0, 5);
  ExpectInStep(6);
}

// Under the rule of prepared all-to-alls a rank may read the output of epoch e - 2 until it starts e - 1.
TEST_P(LateRankTest, OutputThatALateRankStillReadsIsNotOverwritten) {
  run_.Poison(1);
  ASSERT_THAT(CallOn({0, 1, 2}, 1, 20), Each("OK"));
  MissEpoch(0, 21);
  MissEpoch(1, 22);
  run_.ExpectMoved(kLateRank, 1, 20);
  for (const int epoch : {21, 22}) {
    EXPECT_THAT(CallOn({kLateRank}, epoch % 2, epoch)[kLateRank], StartsWith("DEADLINE_EXCEEDED"));
  }
  ExpectInStep(23);
}

TEST_P(LateRankTest, MixOfOperationsWhileARankIsAway) {
  MissEpoch(0, 1);
  EXPECT_THAT(run_.Run({0, 1}, [&](int rank) { return run_.OneShotOn(rank, 1, 2, kShortTimeoutNs); })[0],
              StartsWith("DEADLINE_EXCEEDED"));
  EXPECT_THAT(run_.Run({0, 1}, [&](int rank) { return run_.PreparedOn(rank, 1, 3, kShortTimeoutNs); })[0],
              StartsWith("DEADLINE_EXCEEDED"));

  EXPECT_THAT(CallOn({kLateRank}, 0, 1)[kLateRank], StartsWith("DEADLINE_EXCEEDED"));
  EXPECT_THAT(run_.OneShotOn(kLateRank, 1, 2).ToString(), StartsWith("DEADLINE_EXCEEDED"));
  EXPECT_THAT(run_.PreparedOn(kLateRank, 1, 3).ToString(), StartsWith("DEADLINE_EXCEEDED"));
  EXPECT_FALSE(host::TakeStatus(group_.group(kLateRank), 0).ok());

  ExpectInStep(4);
}

TEST_P(LateRankTest, PrepareOfALateRankLeavesAPlanThatSaysSo) {
  EXPECT_THAT(run_.Run({0, 1}, [&](int rank) { return run_.PrepareOn(rank, 0, kShortTimeoutNs); })[0],
              StartsWith("DEADLINE_EXCEEDED: prepare on channel 0"));
  EXPECT_THAT(run_.Run({kLateRank}, [&](int rank) { return run_.PrepareOn(rank, 0); })[kLateRank],
              StartsWith("DEADLINE_EXCEEDED: prepare on channel 0"));

  const Statuses statuses = run_.Prepared(0, 3);

  EXPECT_THAT(statuses,
              Each(StartsWith("FAILED_PRECONDITION: all-to-all on channel 0, epoch 4: the plan has no rows")));
  for (const int rank : {0, 1}) missed_run_.ExpectMoved(rank, 0, 3);
}

// A peer that this test plays by hand, cell by cell.
class HandMadePeerTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kEpoch = 1;

  TestGroup group_ = TestGroup::WithWindows(2, 1, 1, kWindowBytes);
  Case case_ = [] {
    Case a_case = MakeDenseCase({{1, 2}, {3, 4}}, 8);
    for (RankCase& rank : a_case.ranks) rank.window_bytes = kWindowBytes;
    return a_case;
  }();
  CaseRun run_{group_, case_};
  host::Channel peer_ = group_.channel(1);
};

TEST_F(HandMadePeerTest, DoneOfAClaimedCreditIsWaitedForBeyondTheDeadline) {
  // The peer has claimed, that is, it is storing rows, when the deadline passes.
  ASSERT_EQ(host::ClaimWithoutCredit(peer_.CreditFrom(0, kEpoch), kEpoch), host::CellState::kReached);
  std::string status;
  group_.Run({0, 1}, [&](int rank) {
    if (rank == 0) {
      status = run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).ToString();
      return;
    }
    host::Done given_up;
    WaitUntil(
        [&] { return host::ReadDone(peer_.DoneFrom(0, kEpoch), kEpoch, &given_up) == host::CellState::kReached; });
    EXPECT_EQ(given_up.fault.fault, Fault::kDeadline);
    host::PublishDone(peer_.DoneTo(0, kEpoch), kEpoch, {.operation = Operation::kOneShot, .fault = {}, .rows = 3});
  });

  // The credit did not come; the rows did.
  EXPECT_THAT(status, HasSubstr("rank 0 waited 0 ms for the credit of rank 1"));
  EXPECT_EQ(group_.channel(0).control().rows_received, 1u + 3u);
}

TEST_F(HandMadePeerTest, ClaimedCreditWithoutDoneIsGivenUpAfterTheGrace) {
  ASSERT_EQ(host::ClaimWithoutCredit(peer_.CreditFrom(0, kEpoch), kEpoch), host::CellState::kReached);
  host::PublishCredit(peer_.CreditTo(0, kEpoch), kEpoch,
                      {.operation = Operation::kOneShot,
                       .fault = {},
                       .window_index = 0,
                       .placement = {0, case_.ranks[1].output_layout, 0},
                       .rows = 2});
  const auto start = std::chrono::steady_clock::now();

  const std::string status = run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).ToString();

  EXPECT_THAT(status, HasSubstr("rank 0 waited 0 ms for the done of rank 1"));
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::nanoseconds(host::kClaimGraceNs));
}

// A sender that was stopped in its copy stored the rest whenever it went on: into the output of a later epoch, which
// was OK.
TEST_F(HandMadePeerTest, NothingIsStartedUntilACopyThatWasGivenUpHasEnded) {
  ASSERT_EQ(host::ClaimWithoutCredit(peer_.CreditFrom(0, 1), 1), host::CellState::kReached);
  ASSERT_THAT(run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).ToString(), StartsWith("DEADLINE_EXCEEDED"));

  const std::string while_it_copies = run_.OneShotOn(0, 0, 2, /*timeout_ns=*/0).ToString();
  const std::string plan_while_it_copies = run_.PrepareOn(0, 0, /*timeout_ns=*/0).ToString();

  EXPECT_THAT(while_it_copies, HasSubstr("rank 0 waited 0 ms for the done of rank 1, whose last done is of epoch 0"));
  EXPECT_THAT(plan_while_it_copies, StartsWith("DEADLINE_EXCEEDED: prepare on channel 0, epoch 3"));
  host::Done done;
  for (const std::uint64_t epoch : {2, 3}) {
    EXPECT_LT(TicketEpoch(peer_.CreditFrom(0, epoch).ticket), 2U) << "the credit of epoch " << epoch;
    EXPECT_EQ(host::ReadDone(peer_.DoneFrom(0, epoch), epoch, &done), host::CellState::kNotYet) << epoch;
  }

  host::PublishDone(peer_.DoneTo(0, 1), 1, {.operation = Operation::kOneShot, .fault = {}, .rows = 3});
  EXPECT_THAT(run_.OneShotOn(0, 0, 4, /*timeout_ns=*/0).ToString(), HasSubstr("epoch 4"));
  EXPECT_EQ(peer_.CreditFrom(0, 4).ticket, MakeTicket(4, CreditState::kRevoked)) << "it was given";
}

TEST_F(HandMadePeerTest, UnclaimedCreditIsRevokedAtTheDeadline) {
  const auto start = std::chrono::steady_clock::now();

  EXPECT_THAT(run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).ToString(), StartsWith("DEADLINE_EXCEEDED"));

  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::nanoseconds(host::kClaimGraceNs));
  EXPECT_EQ(peer_.CreditFrom(0, kEpoch).ticket, MakeTicket(kEpoch, CreditState::kRevoked));
}

}  // namespace
}  // namespace a8a::kernels::test
