// What the daemon reads: counters of channel, window and rank, histograms of waits, and the error record.
#include <numeric>
#include <span>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/host/counters.h"
#include "kernels/host/error_record.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/case_run.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"

namespace a8a::kernels::test {
namespace {

using testing::Each;
using testing::StartsWith;

constexpr std::int64_t kCountedRowBytes = 8;

std::uint64_t SampleCount(const WaitCounters& waits) {
  return std::accumulate(std::begin(waits.counts), std::end(waits.counts), std::uint64_t{0});
}

class CountersTest : public testing::Test {
 protected:
  CountersTest() : case_(MakeDenseCase({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, kCountedRowBytes)) {}

  [[nodiscard]] const ChannelControl& Control(int rank, int channel = 0) const {
    return group_.channel(rank, channel).control();
  }
  [[nodiscard]] const WindowCounters& Window(int rank, int window) const {
    return group_.channel(rank).window_counters(window);
  }

  Case case_;
  TestGroup group_{3, 2, {2, case_.WindowSizes()}};
  CaseRun run_{group_, case_};
};

TEST_F(CountersTest, RowsAndBytesIncludeTheRanksOwn) {
  ASSERT_THAT(run_.OneShot(0, 1), Each("OK"));
  ASSERT_THAT(run_.Prepare(1), Each("OK"));
  ASSERT_THAT(run_.Prepared(1, 1), Each("OK"));
  ASSERT_THAT(run_.Prepared(1, 2), Each("OK"));

  EXPECT_EQ(Control(1).epoch, 4u);
  EXPECT_EQ(Control(1).all_to_alls, 3u);
  EXPECT_EQ(Control(1).prepares, 1u);
  EXPECT_EQ(Control(1).rows_sent, 3u * 15);
  EXPECT_EQ(Control(1).bytes_sent, 3u * 15 * kCountedRowBytes);
  EXPECT_EQ(Control(2).rows_received, 3u * 18);
  EXPECT_EQ(Control(2).bytes_received, 3u * 18 * kCountedRowBytes);
  EXPECT_EQ(Window(2, 0).all_to_alls, 1u);
  EXPECT_EQ(Window(2, 0).rows, 18u);
  EXPECT_EQ(Window(2, 1).all_to_alls, 2u);
  EXPECT_EQ(Window(2, 1).rows, 2u * 18);
  EXPECT_EQ(Window(2, 1).bytes, 2u * 18 * kCountedRowBytes);
  EXPECT_EQ(Control(2, /*channel=*/1).all_to_alls, 0u);
}

TEST_F(CountersTest, WaitsAreOneSamplePerPhaseThatWaits) {
  ASSERT_THAT(run_.OneShot(0, 1), Each("OK"));
  ASSERT_THAT(run_.Prepare(1), Each("OK"));
  ASSERT_THAT(run_.Prepared(1, 1), Each("OK"));  // without credits
  ASSERT_THAT(run_.Prepared(1, 1), Each("OK"));  // with

  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(SampleCount(Control(rank).credit_wait), 3u);
    EXPECT_EQ(SampleCount(Control(rank).done_wait), 4u);
  }
}

TEST_F(CountersTest, WaitedTimeIsCounted) {
  EXPECT_FALSE(run_.OneShotOn(0, 0, 1, kShortTimeoutNs).ok());
  EXPECT_GE(Control(0).credit_wait.sum_ns, static_cast<std::uint64_t>(kShortTimeoutNs));
}

TEST_F(CountersTest, PairsThatFailCountNoRows) {
  Case bad = case_;
  bad.ranks[1].output_splits[2] = 7;  // rank 2 sends 8
  CaseRun run(group_, bad);

  run.OneShot(0, 1);

  EXPECT_EQ(Control(1).rows_sent, 15u);
  EXPECT_EQ(Control(1).rows_received, 15u - 8);
  EXPECT_EQ(Control(2).rows_sent, 24u - 8);
  EXPECT_EQ(Window(1, 0).rows, 15u - 8);
  EXPECT_EQ(Control(1).all_to_alls, 1u);
}

TEST_F(CountersTest, ErrorsAreCountedByCodeOncePerAllToAll) {
  Case bad = case_;
  bad.ranks[1].input_splits[2] = -1;
  CaseRun bad_run(group_, bad);
  bad_run.OneShot(0, 1);
  bad_run.Prepare(0);
  EXPECT_FALSE(run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).ok());

  EXPECT_EQ(Control(0).errors[static_cast<int>(absl::StatusCode::kInvalidArgument)], 2u);
  EXPECT_EQ(Control(0).errors[static_cast<int>(absl::StatusCode::kDeadlineExceeded)], 1u);
  EXPECT_EQ(Control(0).errors[static_cast<int>(absl::StatusCode::kOk)], 0u);
  EXPECT_EQ(Control(0).error.error_count, 3u);
}

TEST_F(CountersTest, ChannelsAddUpInTheirWindow) {
  CaseRun other_channel(group_, case_, /*channel=*/1);
  std::vector<int> threads = {0, 1, 2, 3, 4, 5};
  group_.Run(threads, [&](int thread) {
    CaseRun& run = thread < 3 ? run_ : other_channel;
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(run.OneShotOn(thread % 3, thread / 3, 1).ok());
  });
  // Each channel its own window above; both the same below, one after the other.
  ASSERT_THAT(run_.OneShot(0, 1), Each("OK"));
  ASSERT_THAT(other_channel.OneShot(0, 1), Each("OK"));
  EXPECT_EQ(Window(2, 0).rows, 52u * 18);
  EXPECT_EQ(Window(2, 1).rows, 50u * 18);
  EXPECT_EQ(Control(2, 1).rows_received, 51u * 18);
}

TEST(WaitCountersTest, BucketsArePowersOfTwo) {
  WaitCounters waits = {};
  for (const std::int64_t ns : {0, 1, 2, 3, 4, 1023, 1024}) host::CountWait(waits, ns);
  host::CountWait(waits, -5);
  host::CountWait(waits, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(waits.counts[0], 3u);  // 0, 1 and the clock that went back
  EXPECT_EQ(waits.counts[1], 2u);
  EXPECT_EQ(waits.counts[2], 1u);
  EXPECT_EQ(waits.counts[9], 1u);
  EXPECT_EQ(waits.counts[10], 1u);
  EXPECT_EQ(waits.counts[kWaitBucketCount - 1], 1u);
}

TEST_F(CountersTest, TakeStatusTellsTheFirstErrorOnce) {
  Case bad = case_;
  bad.ranks[1].output_splits[2] = 7;
  CaseRun bad_run(group_, bad);
  const auto bad_on = [&](int rank) { return bad_run.OneShotOn(rank, 0, 1).ToString(); };
  group_.Run([&](int rank) { bad_on(rank); });
  group_.Run([&](int rank) { bad_on(rank); });

  EXPECT_EQ(host::TakeStatus(group_.group(1), 0).ToString(),
            "FAILED_PRECONDITION: all-to-all on channel 0, epoch 1: rank 2 sends 8 rows to rank 1, which expects 7");
  EXPECT_TRUE(host::TakeStatus(group_.group(1), 0).ok());

  group_.Run([&](int rank) { bad_on(rank); });
  EXPECT_THAT(std::string(host::TakeStatus(group_.group(1), 0).message()),
              StartsWith("all-to-all on channel 0, epoch 3"));
  EXPECT_TRUE(host::TakeStatus(group_.group(0), 0).ok());
}

TEST(ErrorRecordTest, EveryFieldSurvivesTheRecord) {
  TestGroup group = TestGroup::WithWindows(1, 1, 1, 8);
  const host::FaultReport report = {.operation = Operation::kPrepare,
                                    .rank = 0,
                                    .channel = 0,
                                    .epoch = 77,
                                    .peer = 5,
                                    .as_sender = true,
                                    .info = {Fault::kRowBytesMismatch, 16, 32},
                                    .abort_word = 0};
  host::RecordError(group.channel(0).control().error, report);
  EXPECT_EQ(host::TakeStatus(group.group(0), 0), host::ToStatus(report));
}

}  // namespace
}  // namespace a8a::kernels::test
