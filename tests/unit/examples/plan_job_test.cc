#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/examples/dp_mla/flags.h"

namespace a8a::dp_mla {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class PlanJobTest : public ::testing::Test {
 protected:
  PlanJobTest() {
    options_.trace = absl::StrCat(::testing::TempDir(), "/a8a-plan-", ::getpid(), ".csv");
    options_.world_size = 4;
    options_.dp = 2;
    options_.steps = 0;
    Write("step,rank0,rank1,rank2,rank3\n0,1,0,2,0\n1,0,0,0,0\n2,0,9,0,31\n");
  }
  ~PlanJobTest() override {
    std::remove(options_.trace.c_str());
    ::unsetenv("A8A_DP_MLA_CORRUPT");
  }

  void Write(const std::string& text) const { std::ofstream(options_.trace) << text; }
  [[nodiscard]] std::string Refusal() const {
    const absl::StatusOr<PlannedJob> job = PlanJob(options_);
    return job.ok() ? "" : std::string(job.status().message());
  }

  Options options_;
};

TEST_F(PlanJobTest, CapacitiesHoldTheLargestStepAndSomePadding) {
  const absl::StatusOr<PlannedJob> job = PlanJob(options_);

  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->config.step_count, 3);
  EXPECT_EQ(job->config.shape.dp_group_count, 2);
  EXPECT_EQ(job->config.shape.group_capacity, 48);  // 40 tokens would leave no padding
  EXPECT_EQ(job->config.shape.total_capacity, 48);
}

TEST_F(PlanJobTest, OnlyTheStepsAskedForCount) {
  options_.steps = 2;

  const absl::StatusOr<PlannedJob> job = PlanJob(options_);

  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->config.step_count, 2);
  EXPECT_EQ(job->config.shape.group_capacity, 8);
}

TEST_F(PlanJobTest, DpDefaultsToTheWorldSize) {
  options_.dp = 0;

  const absl::StatusOr<PlannedJob> job = PlanJob(options_);

  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->config.shape.dp_group_count, 4);
}

TEST_F(PlanJobTest, WithoutStepsAShortTraceIsRunWhole) {
  options_.steps = std::nullopt;

  const absl::StatusOr<PlannedJob> job = PlanJob(options_);

  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->config.step_count, 3);
}

TEST_F(PlanJobTest, StepsBeyondTheTraceAreRefusedWithBothNumbers) {
  options_.steps = 4;

  EXPECT_THAT(Refusal(), AllOf(HasSubstr("--steps 4"), HasSubstr("3 steps")));
}

TEST_F(PlanJobTest, DpThatDoesNotDivideIsRefusedWithBothNumbers) {
  options_.dp = 3;

  EXPECT_EQ(Refusal(), "--dp 3 does not divide --world-size 4");
}

TEST_F(PlanJobTest, MoreGroupsThanColumnsAreRefused) {
  options_.world_size = 8;
  options_.dp = 8;

  EXPECT_THAT(Refusal(), AllOf(HasSubstr("4 rank columns"), HasSubstr("8 data-parallel groups")));
}

TEST_F(PlanJobTest, BadTraceIsRefusedWithFileAndLine) {
  Write("step,rank0,rank1\n0,1,2\n1,1,-2\n");

  EXPECT_THAT(Refusal(), HasSubstr(absl::StrCat(options_.trace, ":3: ")));
}

TEST_F(PlanJobTest, TooManyAllToAllsAreRefused) {
  options_.layers = 10'000'000;

  EXPECT_THAT(Refusal(), AllOf(HasSubstr("60000000 all-to-alls"), HasSubstr("50000000")));
}

TEST_F(PlanJobTest, RuntimeDirThatHoldsNoSocketIsRefused) {
  options_.runtime_dir = std::string(97, 'x');

  EXPECT_THAT(Refusal(), AllOf(HasSubstr("97"), HasSubstr("96")));
}

TEST_F(PlanJobTest, FaultToInjectComesFromTheEnvironment) {
  ::setenv("A8A_DP_MLA_CORRUPT", "2,3", 1);

  const absl::StatusOr<PlannedJob> job = PlanJob(options_);

  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->config.corrupt_step, 2);
  EXPECT_EQ(job->config.corrupt_rank, 3);
}

TEST_F(PlanJobTest, FaultThatCouldNotHappenIsRefused) {
  for (const char* text : {"", "1", "1,", "x,1", "3,0", "0,4", "-1,0", "0,-1", "0,0,0"}) {
    ::setenv("A8A_DP_MLA_CORRUPT", text, 1);
    EXPECT_THAT(Refusal(), HasSubstr("A8A_DP_MLA_CORRUPT")) << text;
  }
}

TEST_F(PlanJobTest, TwoRunsGetDifferentGroupsAndSecrets) {
  const absl::StatusOr<PlannedJob> first = PlanJob(options_);
  const absl::StatusOr<PlannedJob> second = PlanJob(options_);

  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_STRNE(first->config.group_name, second->config.group_name);
  EXPECT_STRNE(first->config.secret, second->config.secret);
  EXPECT_GE(std::string(first->config.secret).size(), 32u);
}

}  // namespace
}  // namespace a8a::dp_mla
