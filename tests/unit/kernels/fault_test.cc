#include "kernels/host/fault.h"

#include "gtest/gtest.h"
#include "kernels/include/control_layout.h"

namespace a8a::kernels::host {
namespace {

// Of rank 3, with peer 0.
FaultReport Report(Fault fault, std::int64_t expected, std::int64_t actual, bool as_sender) {
  return {.operation = Operation::kOneShot,
          .rank = 3,
          .channel = 1,
          .epoch = 12,
          .peer = 0,
          .as_sender = as_sender,
          .info = {fault, expected, actual},
          .abort_word = 0};
}

std::string AsSender(Fault fault, std::int64_t expected = 0, std::int64_t actual = 0) {
  return ToStatus(Report(fault, expected, actual, /*as_sender=*/true)).ToString();
}

std::string AsReceiver(Fault fault, std::int64_t expected = 0, std::int64_t actual = 0) {
  return ToStatus(Report(fault, expected, actual, /*as_sender=*/false)).ToString();
}

std::string InOwnSplits(Fault fault, std::int64_t expected, std::int64_t actual, bool as_sender) {
  FaultReport report = Report(fault, expected, actual, as_sender);
  report.peer = -1;
  return ToStatus(report).ToString();
}

std::string OfAbort(AbortReason reason, int rank) {
  FaultReport report = Report(Fault::kAborted, 0, 0, false);
  report.abort_word = MakeAbortWord(reason, rank);
  return ToStatus(report).ToString();
}

TEST(FaultTest, DisagreementsNameBothRanksAndBothValues) {
  EXPECT_EQ(AsSender(Fault::kSplitMismatch, 5, 7),
            "FAILED_PRECONDITION: all-to-all on channel 1, epoch 12: rank 3 sends 7 rows to rank 0, which expects 5");
  EXPECT_EQ(AsReceiver(Fault::kSplitMismatch, 5, 7),
            "FAILED_PRECONDITION: all-to-all on channel 1, epoch 12: rank 0 sends 7 rows to rank 3, which expects 5");
  EXPECT_EQ(AsSender(Fault::kRowBytesMismatch, 16, 32),
            "FAILED_PRECONDITION: all-to-all on channel 1, epoch 12: rank 3 sends rows of 32 bytes to rank 0, which "
            "expects rows of 16");
  EXPECT_EQ(AsSender(Fault::kWindowMismatch, 1, 2),
            "FAILED_PRECONDITION: all-to-all on channel 1, epoch 12: rank 3 sends into window 2 of rank 0, which "
            "expects rows in window 1");
  EXPECT_EQ(AsReceiver(Fault::kOperationMismatch, 1, 2),
            "FAILED_PRECONDITION: all-to-all on channel 1, epoch 12: rank 0 runs Prepare, rank 3 runs a one-shot "
            "all-to-all");
  EXPECT_EQ(AsReceiver(Fault::kOperationMismatch, 99, 3),
            "FAILED_PRECONDITION: all-to-all on channel 1, epoch 12: rank 0 runs a prepared all-to-all, rank 3 runs an "
            "unknown operation");
}

TEST(FaultTest, FaultsInSplitsNameTheirOwnerAndSide) {
  EXPECT_EQ(InOwnSplits(Fault::kNegativeSplit, 2, -4, /*as_sender=*/true),
            "INVALID_ARGUMENT: all-to-all on channel 1, epoch 12: the input splits of rank 3 hold a negative split or "
            "offset, -4 for rank 2");
  EXPECT_EQ(InOwnSplits(Fault::kNegativeSplit, 2, -4, /*as_sender=*/false),
            "INVALID_ARGUMENT: all-to-all on channel 1, epoch 12: the output splits of rank 3 hold a negative split or "
            "offset, -4 for rank 2");
  EXPECT_EQ(AsReceiver(Fault::kNegativeSplit, 2, -4),
            "INVALID_ARGUMENT: all-to-all on channel 1, epoch 12: the input splits of rank 0 hold a negative split or "
            "offset, -4 for rank 2");
  EXPECT_EQ(AsSender(Fault::kNegativeSplit, 2, -4),
            "INVALID_ARGUMENT: all-to-all on channel 1, epoch 12: the output splits of rank 0 hold a negative split or "
            "offset, -4 for rank 2");
  EXPECT_EQ(AsReceiver(Fault::kSplitOverflow, 2),
            "INVALID_ARGUMENT: all-to-all on channel 1, epoch 12: the input splits of rank 0 overflow 64 bits: offset "
            "and split for rank 2");
  EXPECT_EQ(AsReceiver(Fault::kBeyondInput, 100, 101),
            "INVALID_ARGUMENT: all-to-all on channel 1, epoch 12: the input splits of rank 0 end at row 101, the input "
            "view holds 100");
  EXPECT_EQ(AsSender(Fault::kBeyondWindow, 100, 101),
            "OUT_OF_RANGE: all-to-all on channel 1, epoch 12: the output of rank 0 ends at 101, its view or window "
            "holds 100");
  EXPECT_EQ(InOwnSplits(Fault::kBeyondWindow, 100, 101, /*as_sender=*/false),
            "OUT_OF_RANGE: all-to-all on channel 1, epoch 12: the output of rank 3 ends at 101, its view or window "
            "holds 100");
  EXPECT_EQ(AsSender(Fault::kOverlappingOutput, 1, 2),
            "INVALID_ARGUMENT: all-to-all on channel 1, epoch 12: rows from ranks 1 and 2 overlap in the output of "
            "rank 0");
}

TEST(FaultTest, WaitsNameWhoWaitedForWhomAndHowLong) {
  EXPECT_EQ(AsSender(Fault::kDeadline, 1'500'000'000, 11),
            "DEADLINE_EXCEEDED: all-to-all on channel 1, epoch 12: rank 3 waited 1500 ms for the credit of rank 0, "
            "whose last done is of epoch 11");
  EXPECT_EQ(AsReceiver(Fault::kDeadline, 1'500'000'000, 11),
            "DEADLINE_EXCEEDED: all-to-all on channel 1, epoch 12: rank 3 waited 1500 ms for the done of rank 0, whose "
            "last done is of epoch 11");
  EXPECT_EQ(AsReceiver(Fault::kAbandoned),
            "DEADLINE_EXCEEDED: all-to-all on channel 1, epoch 12: rank 0 gave up this epoch before rank 3 came, for "
            "rows from rank 0 to rank 3");
}

TEST(FaultTest, EndOfTheGroupNamesReasonAndRank) {
  const std::string prefix = "ABORTED: all-to-all on channel 1, epoch 12: the group has ended: ";
  EXPECT_EQ(OfAbort(AbortReason::kRankDied, 5), prefix + "rank 5 died");
  EXPECT_EQ(OfAbort(AbortReason::kAbortedByRank, 5), prefix + "rank 5 aborted it");
  EXPECT_EQ(OfAbort(AbortReason::kRankLeft, 5), prefix + "rank 5 left");
  EXPECT_EQ(OfAbort(AbortReason::kRevoked, 5), prefix + "the lease of rank 5 was revoked");
  EXPECT_EQ(OfAbort(AbortReason::kDrained, -1), prefix + "the daemon drains");
  EXPECT_EQ(OfAbort(AbortReason::kRankDied, -1), prefix + "a rank died");
}

TEST(FaultTest, MissingPlanNamesWhatPrepareFound) {
  EXPECT_EQ(AsSender(Fault::kNotPrepared, 0, static_cast<int>(Fault::kSplitMismatch)),
            "FAILED_PRECONDITION: all-to-all on channel 1, epoch 12: the plan has no rows from rank 3 to rank 0: "
            "Prepare found a split mismatch");
}

TEST(FaultTest, PrepareSaysSo) {
  FaultReport report = Report(Fault::kSplitMismatch, 5, 7, true);
  report.operation = Operation::kPrepare;
  EXPECT_EQ(ToStatus(report).message(),
            "prepare on channel 1, epoch 12: rank 3 sends 7 rows to rank 0, which expects 5");
}

TEST(FaultTest, FaultThatNobodyDefinedIsInternal) {
  EXPECT_EQ(AsReceiver(static_cast<Fault>(999)),
            "INTERNAL: all-to-all on channel 1, epoch 12: rank 0 reports unknown fault 999");
}

TEST(FaultTest, PlainerCauseIsToldThenTheLowerPeer) {
  const FaultReport mismatch = Report(Fault::kSplitMismatch, 5, 7, true);
  const FaultReport deadline = Report(Fault::kDeadline, 0, 0, true);
  const FaultReport aborted = Report(Fault::kAborted, 0, 0, true);
  FaultReport higher = mismatch;
  higher.peer = 1;
  EXPECT_TRUE(IsPlainer(mismatch, deadline));
  EXPECT_FALSE(IsPlainer(deadline, mismatch));
  EXPECT_TRUE(IsPlainer(aborted, mismatch));
  EXPECT_TRUE(IsPlainer(mismatch, higher));
  EXPECT_FALSE(IsPlainer(mismatch, mismatch));
}

}  // namespace
}  // namespace a8a::kernels::host
