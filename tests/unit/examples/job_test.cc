#include "client/examples/dp_mla/job.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace a8a::dp_mla {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

JobConfig SmallConfig() {
  JobConfig config;
  config.shape = {.world_size = 2, .dp_group_count = 2, .group_capacity = 8, .total_capacity = 8};
  config.step_count = 3;
  config.layer_count = 2;
  return config;
}

const TokenTable kTokens{.group_count = 2, .tokens = {1, 2, 3, 4, 5, 6}};

TEST(JobTest, RankThatOpensItSeesWhatTheParentWrote) {
  auto parent = Job::Create(SmallConfig(), kTokens);
  ASSERT_TRUE(parent.ok()) << parent.status();
  auto rank = Job::Open(::dup((*parent)->fd()));
  ASSERT_TRUE(rank.ok()) << rank.status();

  (*rank)->rank(1).progress = 7;

  EXPECT_THAT((*rank)->tokens(2), ElementsAre(5, 6));
  EXPECT_EQ((*rank)->config().layer_count, 2);
  EXPECT_EQ((*parent)->rank(1).progress, 7);
  EXPECT_EQ((*parent)->rank(0).progress, 0);
}

TEST(JobTest, OtherDescriptorsAreRefused) {
  auto zeros = tools::SharedMemory::Create(1 << 20);
  ASSERT_TRUE(zeros.ok());

  EXPECT_EQ(Job::Open(::dup((*zeros)->fd())).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Job::Open(::open("/dev/null", O_RDWR | O_CLOEXEC)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Job::Open(9999).ok());
}

TEST(JobTest, PositionsCountDirectionsThenLayersThenSteps) {
  auto job = Job::Create(SmallConfig(), kTokens);
  ASSERT_TRUE(job.ok());

  EXPECT_EQ((*job)->all_to_all_count(), 12);
  for (std::int64_t i = 0; i < 12; ++i) EXPECT_EQ((*job)->ProgressAt((*job)->PositionOf(i)), i);
  const Position seventh = (*job)->PositionOf(7);
  EXPECT_EQ(seventh.step, 1);
  EXPECT_EQ(seventh.layer, 1);
  EXPECT_EQ(seventh.direction, Direction::kDp2Tp);
}

TEST(JobTest, TimesAreThoseOfTheSlowestRank) {
  auto job = Job::Create(SmallConfig(), kTokens);
  ASSERT_TRUE(job.ok());
  const Position position{.step = 2, .layer = 1, .direction = Direction::kDp2Tp};

  for (const std::int64_t ns : {50, 70, 60}) (*job)->RecordAllToAll(position, ns);
  (*job)->RecordPrepare({.step = 0, .direction = Direction::kTp2Dp}, 5);

  EXPECT_THAT((*job)->AllToAllTimes(Direction::kDp2Tp), ElementsAre(70));
  EXPECT_THAT((*job)->AllToAllTimes(Direction::kTp2Dp), IsEmpty());
  EXPECT_THAT((*job)->PrepareTimes(), ElementsAre(5));
}

TEST(JobTest, StopLetsTheAllToAllItWasFoundInFinish) {
  auto job = Job::Create(SmallConfig(), kTokens);
  ASSERT_TRUE(job.ok());
  const Position found{.step = 1, .layer = 0, .direction = Direction::kTp2Dp};
  const Position next{.step = 1, .layer = 0, .direction = Direction::kDp2Tp};
  EXPECT_FALSE((*job)->StoppedBefore({.step = 2, .layer = 1, .direction = Direction::kDp2Tp}));

  (*job)->StopAfter(next);
  (*job)->StopAfter(found);
  (*job)->StopAfter(next);

  EXPECT_FALSE((*job)->StoppedBefore(found));
  EXPECT_TRUE((*job)->StoppedBefore(next));
}

}  // namespace
}  // namespace a8a::dp_mla
