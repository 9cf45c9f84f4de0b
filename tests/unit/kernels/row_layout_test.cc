#include "kernels/host/row_layout.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_values.h"

namespace a8a::kernels::host {
namespace {

// Counts every byte of every row.
bool OverlapByCounting(const RowLayout& layout) {
  std::vector<int> uses(static_cast<std::size_t>(*ExtentBytes(layout)));
  for (std::int64_t outer = 0; outer < layout.outer_size; ++outer) {
    for (std::int64_t inner = 0; inner < layout.inner_size; ++inner) {
      for (std::int64_t byte = 0; byte < layout.row_bytes; ++byte) {
        const auto at = outer * layout.outer_stride_bytes + inner * layout.inner_stride_bytes + byte;
        if (++uses[static_cast<std::size_t>(at)] > 1) return true;
      }
    }
  }
  return false;
}

TEST(RowLayoutTest, RowsOverlapAgreesWithCountingBytes) {
  for (std::int64_t outer_size = 0; outer_size <= 5; ++outer_size) {
    for (std::int64_t inner_size = 0; inner_size <= 5; ++inner_size) {
      for (std::int64_t outer_stride = 0; outer_stride <= 14; ++outer_stride) {
        for (std::int64_t inner_stride = 0; inner_stride <= 14; ++inner_stride) {
          for (std::int64_t row_bytes = 1; row_bytes <= 4; ++row_bytes) {
            const RowLayout layout{outer_size, inner_size, outer_stride, inner_stride, row_bytes};
            ASSERT_EQ(RowsOverlap(layout), OverlapByCounting(layout))
                << "sizes " << outer_size << " " << inner_size << ", strides " << outer_stride << " " << inner_stride
                << ", row_bytes " << row_bytes;
          }
        }
      }
    }
  }
}

TEST(RowLayoutTest, RowsOverlapAgreesWithCountingBytesOnRandomLayouts) {
  const std::uint64_t seed = test::TestSeed();
  SCOPED_TRACE(testing::Message() << "A8A_TEST_SEED=" << seed);
  test::Random random(seed);
  for (int i = 0; i < 20000; ++i) {
    const RowLayout layout{test::Uniform(random, 1, 40), test::Uniform(random, 1, 40), test::Uniform(random, 1, 300),
                           test::Uniform(random, 1, 300), test::Uniform(random, 1, 9)};
    ASSERT_EQ(RowsOverlap(layout), OverlapByCounting(layout))
        << "sizes " << layout.outer_size << " " << layout.inner_size << ", strides " << layout.outer_stride_bytes << " "
        << layout.inner_stride_bytes << ", row_bytes " << layout.row_bytes;
  }
}

TEST(RowLayoutTest, RowsOverlapAnswersAtOnceForHugeViews) {
  // Strides that differ by one: found only after 10^9 steps, one by one.
  EXPECT_FALSE(RowsOverlap({1'000'000'000, 1'000'000'000, 1'000'000'001, 1'000'000'000, 1}));
  EXPECT_TRUE(RowsOverlap({1'000'000'001, 1'000'000'002, 1'000'000'001, 1'000'000'000, 1}));
  EXPECT_TRUE(RowsOverlap({1'000'000'000, 1'000'000'000, 1'000'000'001, 1'000'000'000, 2}));
}

TEST(RowLayoutTest, TransposedViewHasNoOverlap) {
  // [tokens, D, row] seen as [D, tokens, row].
  EXPECT_FALSE(RowsOverlap({4, 100, 18432, 4 * 18432, 18432}));
  EXPECT_TRUE(RowsOverlap({5, 100, 18432, 4 * 18432, 18432}));
}

TEST(RowLayoutTest, ExtentEndsWithTheLastRow) {
  EXPECT_EQ(ExtentBytes({3, 4, 100, 10, 7}), 2 * 100 + 3 * 10 + 7);
  EXPECT_EQ(ExtentBytes({0, 4, 100, 10, 7}), 0);
  EXPECT_EQ(ExtentBytes({4, 0, 100, 10, 7}), 0);
}

TEST(RowLayoutTest, SumsBeyondInt64AreNone) {
  EXPECT_EQ(RowCount({std::int64_t{1} << 32, std::int64_t{1} << 31, 0, 0, 1}), std::nullopt);
  EXPECT_EQ(ExtentBytes({3, 1, kMost, 0, 1}), std::nullopt);
  EXPECT_EQ(ExtentBytes({1, 3, 0, kMost, 1}), std::nullopt);
  EXPECT_EQ(ExtentBytes({2, 2, kMost / 2 + 1, kMost / 2, 1}), std::nullopt);
  EXPECT_EQ(ExtentBytes({2, 1, kMost, 0, 1}), std::nullopt);
  EXPECT_EQ(ExtentBytes({1, 1, kMost, kMost, kMost}), kMost);
}

TEST(RowLayoutTest, WellFormedMeansNoNegativeNumbersAndARow) {
  EXPECT_TRUE(IsWellFormed({0, 0, 0, 0, 1}));
  EXPECT_FALSE(IsWellFormed({-1, 0, 0, 0, 1}));
  EXPECT_FALSE(IsWellFormed({0, -1, 0, 0, 1}));
  EXPECT_FALSE(IsWellFormed({0, 0, -1, 0, 1}));
  EXPECT_FALSE(IsWellFormed({0, 0, 0, -1, 1}));
  EXPECT_FALSE(IsWellFormed({0, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace a8a::kernels::host
