#include "kernels/host/splits.h"

#include <limits>
#include <span>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_values.h"

namespace a8a::kernels::host {
namespace {

using test::IndexArray;
using testing::ElementsAre;

// Splits of three ranks over views of 100 rows.
class SplitsTest : public testing::TestWithParam<IndexType> {
 protected:
  SplitsTest() { group_.world_size = 3; }

  SplitTable Read(const std::vector<std::int64_t>& splits, const std::vector<std::int64_t>& offsets, bool is_input) {
    // An odd address: no alignment is promised.
    splits_ = IndexArray(splits, GetParam(), 1);
    offsets_ = IndexArray(offsets, GetParam(), 3);
    AllToAllParams params;
    params.group = &group_;
    params.input_layout = params.output_layout = {10, 10, 10, 1, 1};
    params.splits.type = GetParam();
    (is_input ? params.splits.input : params.splits.output) = splits_.data();
    (is_input ? params.splits.input_offsets : params.splits.output_offsets) = offsets_.data();
    return is_input ? ReadInputSplits(params) : ReadOutputSplits(params);
  }
  SplitTable ReadInput(const std::vector<std::int64_t>& splits, const std::vector<std::int64_t>& offsets = {}) {
    return Read(splits, offsets, /*is_input=*/true);
  }
  SplitTable ReadOutput(const std::vector<std::int64_t>& splits, const std::vector<std::int64_t>& offsets = {}) {
    return Read(splits, offsets, /*is_input=*/false);
  }

 private:
  GroupView group_;
  IndexArray splits_;
  IndexArray offsets_;
};

std::span<const std::int64_t> Three(const std::array<std::int64_t, kMaxWorldSize>& values) { return {&values[0], 3}; }

MATCHER_P3(IsFault, fault, expected, actual, "") {
  *result_listener << "fault " << static_cast<int>(arg.fault) << ", expected " << arg.expected << ", actual "
                   << arg.actual;
  return arg.fault == fault && arg.expected == expected && arg.actual == actual;
}

TEST_P(SplitsTest, OffsetsArePrefixSumsUnlessGiven) {
  const SplitTable sums = ReadInput({5, 0, 95});
  EXPECT_TRUE(sums.fault.ok());
  EXPECT_THAT(Three(sums.rows), ElementsAre(5, 0, 95));
  EXPECT_THAT(Three(sums.first_row), ElementsAre(0, 5, 5));

  const SplitTable given = ReadInput({5, 1, 4}, {95, 0, 50});
  EXPECT_TRUE(given.fault.ok());
  EXPECT_THAT(Three(given.first_row), ElementsAre(95, 0, 50));
}

TEST_P(SplitsTest, OffsetOfAnEmptySplitIsNotLookedAt) {
  EXPECT_TRUE(ReadInput({5, 0, 4}, {0, -1, 5}).fault.ok());
  EXPECT_TRUE(ReadOutput({5, 0, 4}, {0, 1'000'000, 5}).fault.ok());
}

TEST_P(SplitsTest, InputRangesMayOverlapOutputRangesMayNot) {
  EXPECT_TRUE(ReadInput({5, 5, 5}, {0, 0, 2}).fault.ok());
  EXPECT_THAT(ReadOutput({5, 5, 5}, {20, 0, 4}).fault, IsFault(Fault::kOverlappingOutput, 1, 2));
  EXPECT_THAT(ReadOutput({5, 5, 5}, {9, 0, 5}).fault, IsFault(Fault::kOverlappingOutput, 0, 2));
  EXPECT_TRUE(ReadOutput({5, 5, 5}, {10, 0, 5}).fault.ok());
}

TEST_P(SplitsTest, NegativeSplitOrOffsetIsAFault) {
  EXPECT_THAT(ReadInput({5, -3, 4}).fault, IsFault(Fault::kNegativeSplit, 1, -3));
  EXPECT_THAT(ReadOutput({5, 3, 4}, {0, 5, -2}).fault, IsFault(Fault::kNegativeSplit, 2, -2));
}

TEST_P(SplitsTest, RowsBeyondTheViewAreAFault) {
  EXPECT_THAT(ReadInput({50, 50, 1}).fault, IsFault(Fault::kBeyondInput, 100, 101));
  EXPECT_THAT(ReadOutput({50, 50, 1}).fault, IsFault(Fault::kBeyondWindow, 100, 101));
  EXPECT_THAT(ReadInput({2, 1, 1}, {99, 0, 1}).fault, IsFault(Fault::kBeyondInput, 100, 101));
}

TEST_P(SplitsTest, NumbersUpToTheLimitOfTheirTypeAreRead) {
  const std::int64_t most = GetParam() == IndexType::kInt32 ? std::numeric_limits<std::int32_t>::max() : kMost;
  EXPECT_THAT(ReadInput({most, 0, 0}).fault, IsFault(Fault::kBeyondInput, 100, most));
  EXPECT_THAT(ReadInput({0, -most - 1, 0}).fault, IsFault(Fault::kNegativeSplit, 1, -most - 1));
}

INSTANTIATE_TEST_SUITE_P(Types, SplitsTest, testing::Values(IndexType::kInt32, IndexType::kInt64));

using Int64SplitsTest = SplitsTest;

TEST_P(Int64SplitsTest, SumBeyondInt64IsAFault) {
  EXPECT_THAT(ReadInput({10, kMost, 0}, {0, 10, 0}).fault, IsFault(Fault::kSplitOverflow, 1, 0));
  EXPECT_THAT(ReadInput({10, kMost - 9, 0}).fault, IsFault(Fault::kSplitOverflow, 1, 0));
  EXPECT_THAT(ReadOutput({10, kMost, 0}).fault, IsFault(Fault::kSplitOverflow, 1, 0));
}

INSTANTIATE_TEST_SUITE_P(Types, Int64SplitsTest, testing::Values(IndexType::kInt64));

}  // namespace
}  // namespace a8a::kernels::host
