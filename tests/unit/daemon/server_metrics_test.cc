// The metric families of a snapshot. What a daemon serves is tested in tests/integration/metrics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "daemon/metrics/core_families.h"

namespace a8a::daemon {
namespace {

using ::testing::SizeIs;

// Families are named once: one that is missing has no metrics.
std::vector<prometheus::ClientMetric> Metrics(const MetricFamilies& families, const std::string& name) {
  for (const prometheus::MetricFamily& family : families) {
    if (family.name == name) return family.metric;
  }
  return {};
}

double Value(const MetricFamilies& families, const std::string& name) {
  const auto metrics = Metrics(families, name);
  return metrics.empty() ? -1 : metrics.front().counter.value;
}

GroupSnapshot MakeGroup(std::uint64_t group_id, int world_size) {
  GroupSnapshot group;
  group.group = {.group_id = group_id, .name = "g", .world_size = world_size, .state = GroupState::kReady};
  for (int rank = 0; rank < world_size; ++rank) group.ranks.push_back({.rank = rank, .channels = {}, .windows = {}});
  group.traffic.all_to_alls = 10;
  return group;
}

TEST(CoreFamiliesTest, GroupsAreShownByRankAsLongAsTheyFit) {
  CoreSnapshot snapshot;
  for (std::uint64_t id = 1; id <= 3; ++id) snapshot.groups.push_back(MakeGroup(id, 4));
  snapshot.groups.push_back(MakeGroup(4, 1));

  const MetricFamilies families = CoreFamilies(snapshot, /*rank_max=*/9);

  EXPECT_THAT(Metrics(families, "a8a_rank_all_to_alls_total"), SizeIs(8));
  EXPECT_THAT(Metrics(families, "a8a_group_info"), SizeIs(2));
  EXPECT_EQ(Value(families, "a8a_ranks_not_shown"), 5) << "the fourth would fit, but groups are not skipped";
  EXPECT_EQ(Value(families, "a8a_all_to_alls_total"), 40) << "totals count all";
}

TEST(CoreFamiliesTest, NoRankNeedBeShown) {
  CoreSnapshot snapshot;
  snapshot.groups.push_back(MakeGroup(1, 2));

  const MetricFamilies families = CoreFamilies(snapshot, /*rank_max=*/0);

  EXPECT_THAT(Metrics(families, "a8a_rank_all_to_alls_total"), SizeIs(0));
  EXPECT_EQ(Value(families, "a8a_ranks_not_shown"), 2);
}

TEST(CoreFamiliesTest, WhatEndedGroupsDidIsInTheTotals) {
  CoreSnapshot snapshot;
  snapshot.groups.push_back(MakeGroup(1, 2));
  snapshot.counters.ended_groups.all_to_alls = 7;

  EXPECT_EQ(Value(CoreFamilies(snapshot, 8), "a8a_all_to_alls_total"), 17);
}

TEST(CoreFamiliesTest, WaitsOfAllChannelsAreOneHistogram) {
  CoreSnapshot snapshot;
  GroupSnapshot group = MakeGroup(1, 1);
  ChannelSnapshot channel;
  channel.credit_wait.sum_ns = 3'000'000'000;
  channel.credit_wait.counts[9] = 1;   // [512, 1024) ns: below the first bound
  channel.credit_wait.counts[10] = 2;  // [1024, 2048)
  channel.credit_wait.counts[39] = 4;  // above the last
  group.ranks[0].channels = {channel, channel};
  snapshot.groups.push_back(group);

  const auto metrics = Metrics(CoreFamilies(snapshot, 8), "a8a_rank_credit_wait_seconds");

  ASSERT_THAT(metrics, SizeIs(1));
  const prometheus::ClientMetric::Histogram& histogram = metrics[0].histogram;
  EXPECT_EQ(histogram.sample_count, 14U);
  EXPECT_DOUBLE_EQ(histogram.sample_sum, 6.0);
  ASSERT_THAT(histogram.bucket, SizeIs(13));
  EXPECT_DOUBLE_EQ(histogram.bucket[0].upper_bound, 1024e-9);
  EXPECT_EQ(histogram.bucket[0].cumulative_count, 2U);
  EXPECT_EQ(histogram.bucket[1].cumulative_count, 6U);
  EXPECT_DOUBLE_EQ(histogram.bucket[12].upper_bound, 17179869184e-9);
  EXPECT_EQ(histogram.bucket[12].cumulative_count, 6U);
}

TEST(CoreFamiliesTest, APoolAboveItsLimitHasNothingFree) {
  CoreSnapshot snapshot;
  snapshot.devices.push_back({.device = {.name = "host", .uuid = "", .pool_limit_bytes = 10}, .leased_bytes = 15});

  const MetricFamilies families = CoreFamilies(snapshot, 8);

  EXPECT_EQ(Value(families, "a8a_pool_free_bytes"), 0);
  EXPECT_EQ(Value(families, "a8a_pool_leased_bytes"), 15);
}

TEST(CoreFamiliesTest, ErrorsOfAUsualKindAreThereBeforeTheFirst) {
  CoreSnapshot snapshot;
  snapshot.counters.ended_groups.errors[static_cast<std::size_t>(absl::StatusCode::kInternal)] = 2;

  EXPECT_THAT(Metrics(CoreFamilies(snapshot, 8), "a8a_errors_total"), SizeIs(4));
}

}  // namespace
}  // namespace a8a::daemon
