#include "client/tools/samples.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace a8a::tools {
namespace {

TEST(SamplesTest, PercentilesAreSamplesByNearestRank) {
  std::vector<std::int64_t> samples(200);
  std::iota(samples.rbegin(), samples.rend(), 1);  // 200, ..., 1
  for (std::int64_t& ns : samples) ns *= 1000;

  const Summary summary = Summarize(samples);

  EXPECT_EQ(summary.count, 200);
  EXPECT_DOUBLE_EQ(summary.p50_us, 100);
  EXPECT_DOUBLE_EQ(summary.p95_us, 190);
  EXPECT_DOUBLE_EQ(summary.p99_us, 198);
  EXPECT_DOUBLE_EQ(summary.max_us, 200);
  EXPECT_DOUBLE_EQ(summary.sum_us, 20100);
}

TEST(SamplesTest, OneSampleIsEveryPercentile) {
  const Summary summary = Summarize({1500});

  EXPECT_DOUBLE_EQ(summary.p50_us, 1.5);
  EXPECT_DOUBLE_EQ(summary.p99_us, 1.5);
  EXPECT_DOUBLE_EQ(summary.max_us, 1.5);
}

TEST(SamplesTest, NoSamplesAreAllZero) {
  const Summary summary = Summarize({});

  EXPECT_EQ(summary.count, 0);
  EXPECT_EQ(summary.max_us, 0);
}

}  // namespace
}  // namespace a8a::tools
