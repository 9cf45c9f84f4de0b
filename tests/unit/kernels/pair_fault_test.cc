// Faults of one pair or one rank, through the public functions: the same error on every rank concerned, all other rows
// in place, nothing else written, and a next epoch that works.
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
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

// Three ranks; rank 1 sends rows [0, 15) and receives 15 rows, of 8 bytes.
Case GoodCase() {
  Case a_case = MakeDenseCase({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, 8);
  for (RankCase& rank : a_case.ranks) {
    rank.output_offset_bytes = 100;
    rank.window_bytes = kWindowBytes;
    rank.index_type = IndexType::kInt64;
  }
  return a_case;
}

// Statuses of a one-shot all-to-all in epoch 1; "" stands for OK.
struct FaultCase {
  std::string name;
  std::function<void(RankCase& rank1)> change;
  std::vector<std::string> statuses;
};

const char kPrefix[] = "all-to-all on channel 0, epoch 1: ";

std::vector<std::string> OnAllRanks(const std::string& code, const std::string& what) {
  return std::vector<std::string>(3, code + ": " + kPrefix + what);
}

std::vector<FaultCase> FaultCases() {
  const std::string mismatch =
      std::string("FAILED_PRECONDITION: ") + kPrefix + "rank 2 sends 8 rows to rank 1, which expects 5";
  const auto row_bytes = [](int sender, int sends, int receiver, int expects) {
    return absl::StrCat("FAILED_PRECONDITION: ", kPrefix, "rank ", sender, " sends rows of ", sends, " bytes to rank ",
                        receiver, ", which expects rows of ", expects);
  };
  const std::string own = std::string("FAILED_PRECONDITION: ") + kPrefix;
  return {
      {"ReceiverExpectsFewer", [](RankCase& rank) { rank.output_splits[2] = 5; }, {"OK", mismatch, mismatch}},
      {"ReceiverExpectsNone",
       [](RankCase& rank) { rank.output_splits[2] = 0; },
       {"OK", own + "rank 2 sends 8 rows to rank 1, which expects 0",
        own + "rank 2 sends 8 rows to rank 1, which expects 0"}},
      {"SenderSendsNone",
       [](RankCase& rank) { rank.input_splits[2] = 0; },
       {"OK", own + "rank 1 sends 0 rows to rank 2, which expects 6",
        own + "rank 1 sends 0 rows to rank 2, which expects 6"}},
      {"RankDisagreesWithItself",
       [](RankCase& rank) { rank.output_splits[1] = 4; },
       {"OK", own + "rank 1 sends 5 rows to rank 1, which expects 4", "OK"}},
      {"NegativeInputSplit", [](RankCase& rank) { rank.input_splits[0] = -4; },
       OnAllRanks("INVALID_ARGUMENT", "the input splits of rank 1 hold a negative split or offset, -4 for rank 0")},
      {"NegativeOutputSplit", [](RankCase& rank) { rank.output_splits[2] = -8; },
       OnAllRanks("INVALID_ARGUMENT", "the output splits of rank 1 hold a negative split or offset, -8 for rank 2")},
      {"NegativeInputOffset",
       [](RankCase& rank) {
         rank.input_offsets = {0, -1, 9};
       },
       OnAllRanks("INVALID_ARGUMENT", "the input splits of rank 1 hold a negative split or offset, -1 for rank 1")},
      {"NegativeOutputOffset",
       [](RankCase& rank) {
         rank.output_offsets = {-1, 2, 7};
       },
       OnAllRanks("INVALID_ARGUMENT", "the output splits of rank 1 hold a negative split or offset, -1 for rank 0")},
      {"InputSumOverflows", [](RankCase& rank) { rank.input_splits[1] = kMost; },
       OnAllRanks("INVALID_ARGUMENT", "the input splits of rank 1 overflow 64 bits: offset and split for rank 1")},
      {"OutputSumOverflows", [](RankCase& rank) { rank.output_splits[2] = kMost; },
       OnAllRanks("INVALID_ARGUMENT", "the output splits of rank 1 overflow 64 bits: offset and split for rank 2")},
      {"RowsBeyondInput", [](RankCase& rank) { rank.input_splits[2] = 7; },
       OnAllRanks("INVALID_ARGUMENT", "the input splits of rank 1 end at row 16, the input view holds 15")},
      {"RowsBeyondOutput", [](RankCase& rank) { rank.output_splits[2] = 9; },
       OnAllRanks("OUT_OF_RANGE", "the output of rank 1 ends at 16, its view or window holds 15")},
      {"HugeOutputOffset",
       [](RankCase& rank) {
         rank.output_offsets = {0, kMost - 5, 7};
       },
       OnAllRanks("OUT_OF_RANGE", "the output of rank 1 ends at 9223372036854775807, its view or window holds 15")},
      {"SourcesOverlapInOutput",
       [](RankCase& rank) {
         rank.output_offsets = {0, 1, 7};
       },
       OnAllRanks("INVALID_ARGUMENT", "rows from ranks 0 and 1 overlap in the output of rank 1")},
      {"RowBytesDiffer",
       [](RankCase& rank) {
         rank.input_layout = rank.output_layout = {1, 15, 0, 4, 4};
       },
       {row_bytes(0, 8, 1, 4), row_bytes(1, 4, 0, 8), row_bytes(2, 8, 1, 4)}},
  };
}

class PairFaultTest : public testing::TestWithParam<FaultCase> {
 protected:
  PairFaultTest() : bad_(GoodCase()) { GetParam().change(bad_.ranks[1]); }

  void ExpectNextEpochWorks() {
    CaseRun run(group_, good_);
    EXPECT_THAT(run.OneShot(0, 7), Each("OK"));
    run.ExpectMoved(0, 7);
    EXPECT_THAT(run.Prepare(1), Each("OK"));
    EXPECT_THAT(run.Prepared(1, 8), Each("OK"));
    run.ExpectMoved(1, 8);
  }

  TestGroup group_ = TestGroup::WithWindows(3, 1, 2, kWindowBytes);
  const Case good_ = GoodCase();
  Case bad_;
};

TEST_P(PairFaultTest, OneShotTellsEveryRankConcernedAndMovesTheRest) {
  CaseRun run(group_, bad_);

  EXPECT_EQ(run.OneShot(0, 3), GetParam().statuses);

  run.ExpectMoved(0, 3);
  ExpectNextEpochWorks();
}

TEST_P(PairFaultTest, PrepareTellsTheSameAndItsPlanMovesTheRest) {
  CaseRun run(group_, bad_);
  Statuses expected;
  for (const std::string& status : GetParam().statuses) {
    expected.push_back(absl::StrReplaceAll(status, {{"all-to-all on", "prepare on"}}));
  }

  EXPECT_EQ(run.Prepare(0), expected);
  // Twice: without credits, then with, since the window repeats.
  for (const int round : {3, 4}) {
    const Statuses statuses = run.Prepared(0, round);

    for (std::size_t rank = 0; rank < 3; ++rank) {
      if (expected[rank] == "OK") {
        EXPECT_EQ(statuses[rank], "OK");
      } else {
        EXPECT_THAT(statuses[rank], StartsWith("FAILED_PRECONDITION: all-to-all on channel 0, epoch "));
        EXPECT_THAT(statuses[rank], HasSubstr("the plan has no rows from rank "));
      }
    }
    run.ExpectMoved(0, round);
  }
  ExpectNextEpochWorks();
}

INSTANTIATE_TEST_SUITE_P(Faults, PairFaultTest, testing::ValuesIn(FaultCases()),
                         [](const auto& instance) { return instance.param.name; });

class DisagreementTest : public testing::Test {
 protected:
  TestGroup group_ = TestGroup::WithWindows(3, 1, 2, kWindowBytes);
  const Case case_ = GoodCase();
  CaseRun run_{group_, case_};

  void ExpectNextEpochWorks() {
    EXPECT_THAT(run_.OneShot(0, 7), Each("OK"));
    run_.ExpectMoved(0, 7);
    EXPECT_THAT(run_.Prepared(1, 8), Each("OK"));
    run_.ExpectMoved(1, 8);
    EXPECT_THAT(run_.Prepared(1, 9), Each("OK"));
    run_.ExpectMoved(1, 9);
  }
};

TEST_F(DisagreementTest, RanksThatUseDifferentWindows) {
  EXPECT_THAT(run_.Prepare(1), Each("OK"));
  run_.Poison(0);
  run_.Poison(1);

  const Statuses statuses = run_.Run([&](int rank) { return run_.OneShotOn(rank, rank == 1 ? 1 : 0, 3); });

  const std::string prefix = "FAILED_PRECONDITION: all-to-all on channel 0, epoch 2: ";
  EXPECT_THAT(statuses, ElementsAre(prefix + "rank 0 sends into window 0 of rank 1, which expects rows in window 1",
                                    prefix + "rank 1 sends into window 1 of rank 0, which expects rows in window 0",
                                    prefix + "rank 2 sends into window 0 of rank 1, which expects rows in window 1"));
  run_.ExpectUntouched(1, 0);
  run_.ExpectUntouched(0, 1);
  run_.ExpectUntouched(2, 1);
  // Ranks differ now about the window that was written last, and so about who takes credits.
  EXPECT_THAT(run_.Prepared(1, 5), Each("OK"));
  run_.ExpectMoved(1, 5);
  ExpectNextEpochWorks();
}

TEST_F(DisagreementTest, OneShotAgainstPrepare) {
  EXPECT_THAT(run_.Prepare(1), Each("OK"));

  const Statuses statuses =
      run_.Run([&](int rank) { return rank == 1 ? run_.PrepareOn(rank, 0) : run_.OneShotOn(rank, 0, 3); });

  EXPECT_THAT(statuses[0], HasSubstr("rank 0 runs a one-shot all-to-all, rank 1 runs Prepare"));
  EXPECT_THAT(statuses[1], HasSubstr("rank 1 runs Prepare, rank 0 runs a one-shot all-to-all"));
  EXPECT_THAT(statuses[2], HasSubstr("rank 2 runs a one-shot all-to-all, rank 1 runs Prepare"));
  EXPECT_THAT(statuses, Each(StartsWith("FAILED_PRECONDITION")));
  ExpectNextEpochWorks();
}

// The one that takes credits learns from the other's done that none will come: no deadline passes.
TEST_F(DisagreementTest, OneShotAgainstPrepared) {
  EXPECT_THAT(run_.Prepare(0), Each("OK"));
  EXPECT_THAT(run_.Prepare(1), Each("OK"));
  for (const int odd_one : {0, 1, 2}) {
    EXPECT_THAT(run_.OneShot(1, 2), Each("OK"));

    const Statuses statuses =
        run_.Run([&](int rank) { return rank == odd_one ? run_.PreparedOn(rank, 0, 3) : run_.OneShotOn(rank, 0, 3); });

    EXPECT_THAT(statuses, Each(StartsWith("FAILED_PRECONDITION")));
    EXPECT_THAT(statuses, Each(HasSubstr("a prepared all-to-all")));
    EXPECT_THAT(statuses, Each(HasSubstr("a one-shot all-to-all")));
    ExpectNextEpochWorks();
  }
}

TEST_F(DisagreementTest, PlanThatWasNeverPreparedIsRefusedWithoutAnEpoch) {
  const absl::Status status = host::AllToAll(host::Plan{}, nullptr, kLongTimeoutNs);
  EXPECT_EQ(status, absl::FailedPreconditionError("the plan has not been prepared"));
}

// Both ranks know the rows, but not that their plans differ in them: the receiver sees it by the count.
TEST_F(DisagreementTest, RanksThatUseDifferentPlans) {
  Case other = GoodCase();
  other.ranks[0].input_splits[1] = 1;
  other.ranks[1].output_splits[0] = 1;
  CaseRun other_run(group_, other);
  EXPECT_THAT(run_.Prepare(1), Each("OK"));
  EXPECT_THAT(other_run.Prepare(1), Each("OK"));

  const Statuses statuses =
      run_.Run([&](int rank) { return rank == 0 ? other_run.PreparedOn(0, 1, 3) : run_.PreparedOn(rank, 1, 3); });

  EXPECT_THAT(statuses, ElementsAre("OK",
                                    "FAILED_PRECONDITION: all-to-all on channel 0, epoch 3: rank 0 sends 1 rows to "
                                    "rank 1, which expects 2",
                                    "OK"));
  ExpectNextEpochWorks();
}

}  // namespace
}  // namespace a8a::kernels::test
