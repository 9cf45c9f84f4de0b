// Many epochs on one channel, and epochs at the edges of their representation.
#include <atomic>
#include <cstring>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/case_run.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"

namespace a8a::kernels::test {
namespace {

using testing::Each;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::uint64_t kManyEpochs = 100'000;
#else
constexpr std::uint64_t kManyEpochs = 1'000'000;
#endif

// Two ranks exchange one 8-byte row that names sender and epoch, in alternating windows, so that a row of any other
// epoch shows.
class ManyEpochsTest : public testing::Test {
 protected:
  static constexpr std::int64_t kRowBytes = 8;

  // all_to_all(rank, window): one all-to-all of the rows in inputs_[rank].
  void RunEpochs(std::uint64_t count, const std::function<absl::Status(int rank, int window)>& all_to_all) {
    group_.Run([&](int rank) {
      for (std::uint64_t i = 0; i < count; ++i) {
        for (std::uint64_t to = 0; to < 2; ++to) {
          inputs_[static_cast<std::size_t>(rank)][to] = i << 2 | static_cast<std::uint64_t>(rank) << 1 | to;
        }
        const int window = static_cast<int>(i % 2);
        const absl::Status status = all_to_all(rank, window);
        if (!status.ok() || !Received(rank, window, i)) {
          group_.Abort(AbortReason::kAbortedByRank, rank);
          FAIL() << "rank " << rank << ", epoch " << i << ": " << status;
        }
      }
    });
    EXPECT_EQ(group_.CountDamagedGuardBytes(), 0);
  }

  bool Received(int rank, int window, std::uint64_t i) const {
    std::uint64_t rows[2];
    std::memcpy(rows, group_.Part(rank, window).data(), sizeof(rows));
    const auto to = static_cast<std::uint64_t>(rank);
    return rows[0] == (i << 2 | to) && rows[1] == (i << 2 | 2 | to);
  }

  AllToAllParams Params(int rank, int window) {
    AllToAllParams params = run_.Params(rank, window);
    params.input = reinterpret_cast<const std::byte*>(inputs_[static_cast<std::size_t>(rank)]);
    return params;
  }

  TestGroup group_ = TestGroup::WithWindows(2, 1, 2, 2 * kRowBytes);
  const Case case_ = MakeDenseCase({{1, 1}, {1, 1}}, kRowBytes);
  CaseRun run_{group_, case_};
  alignas(64) std::uint64_t inputs_[2][8] = {};
};

TEST_F(ManyEpochsTest, OneShot) {
  // Two hand-overs an epoch, each a reschedule where the machine is busy: fewer, to end in time there.
  constexpr std::uint64_t kCount = kManyEpochs / 5;
  RunEpochs(kCount, [&](int rank, int window) { return host::AllToAll(Params(rank, window)); });
  EXPECT_EQ(group_.channel(0).state().epoch, kCount);
}

TEST_F(ManyEpochsTest, Prepared) {
  host::Plan plans[2][2];
  group_.Run([&](int rank) {
    for (const int window : {0, 1}) ASSERT_TRUE(host::Prepare(Params(rank, window), &plans[rank][window]).ok());
  });
  RunEpochs(kManyEpochs, [&](int rank, int window) {
    return host::AllToAll(plans[rank][window], Params(rank, window).input, kLongTimeoutNs);
  });
  EXPECT_EQ(group_.channel(0).control().all_to_alls, kManyEpochs);
}

TEST(EpochTest, EpochsCrossTheEdgesOf32Bits) {
  const Case a_case = MakeDenseCase({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}, 8);
  for (const std::uint64_t edge : {std::uint64_t{1} << 30, std::uint64_t{1} << 31, std::uint64_t{1} << 32,
                                   std::uint64_t{3} << 32, std::uint64_t{1} << 60}) {
    SCOPED_TRACE(testing::Message() << "around epoch " << edge);
    TestGroup group(3, 1, {3, a_case.WindowSizes()});
    CaseRun run(group, a_case);
    group.PresetEpoch(0, edge - 4);
    for (const int window : {0, 1}) ASSERT_THAT(run.Prepare(window), Each("OK"));
    for (int round = 0; round < 4; ++round) {
      ASSERT_THAT(run.OneShot(2, round), Each("OK"));
      run.ExpectMoved(2, round);
      ASSERT_THAT(run.Prepared(round % 2, round), Each("OK"));
      run.ExpectMoved(round % 2, round);
    }
    EXPECT_EQ(group.channel(1).state().epoch, edge + 6);
  }
}

// After epochs that were given up, cells of both parities hold what no epoch can mistake for its own.
TEST(EpochTest, LateRankAcrossTheEdgeOf32Bits) {
  const Case a_case = MakeDenseCase({{1, 2}, {3, 4}}, 8);
  TestGroup group(2, 1, {1, a_case.WindowSizes()});
  CaseRun run(group, a_case);
  group.PresetEpoch(0, (std::uint64_t{1} << 32) - 3);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(run.OneShotOn(0, 0, i, /*timeout_ns=*/0).code(), absl::StatusCode::kDeadlineExceeded);
  }
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(run.OneShotOn(1, 0, i).code(), absl::StatusCode::kDeadlineExceeded);
  }
  for (const int rank : {0, 1}) EXPECT_FALSE(host::TakeStatus(group.group(rank), 0).ok());
  EXPECT_THAT(run.OneShot(0, 9), Each("OK"));
  run.ExpectMoved(0, 9);
}

}  // namespace
}  // namespace a8a::kernels::test
