#include "client/examples/dp_mla/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace a8a::dp_mla {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Two ranks, two steps of one layer, four all-to-alls.
std::unique_ptr<Job> FinishedJob() {
  JobConfig config;
  config.shape = {.world_size = 2, .dp_group_count = 2, .group_capacity = 8, .total_capacity = 8};
  config.row_bytes[0] = 1000;
  config.row_bytes[1] = 500;
  config.step_count = 2;
  config.layer_count = 1;
  auto job = Job::Create(config, {.group_count = 2, .tokens = {1, 2, 3, 4}}).value();
  for (std::int64_t step = 0; step < 2; ++step) {
    job->RecordAllToAll({.step = step, .direction = Direction::kTp2Dp}, 1000 * (step + 1));
    job->RecordAllToAll({.step = step, .direction = Direction::kDp2Tp}, 5000);
    job->RecordPrepare({.step = step, .direction = Direction::kTp2Dp}, 300);
  }
  for (int rank = 0; rank < 2; ++rank) {
    job->rank(rank).rows[0] = 10;
    job->rank(rank).rows[1] = 10;
    job->rank(rank).overhead_bytes = 4096 * (rank + 1);
    job->rank(rank).window_padding_bytes = 96;
  }
  return job;
}

TEST(ReportTest, AddsUpWhatTheRanksDid) {
  const RunReport report = MakeReport(*FinishedJob(), "load.csv", 1.5);

  EXPECT_EQ(report.directions[0].times.count, 2);
  EXPECT_EQ(report.directions[0].rows, 20);
  EXPECT_EQ(report.directions[0].bytes, 20000);
  EXPECT_DOUBLE_EQ(report.directions[0].times.p50_us, 1);
  EXPECT_DOUBLE_EQ(report.directions[0].times.max_us, 2);
  EXPECT_DOUBLE_EQ(report.directions[0].gb_per_s(), 20000 / 3000.0);  // bytes per nanosecond
  EXPECT_EQ(report.total.times.count, 4);
  EXPECT_EQ(report.total.bytes, 30000);
  EXPECT_EQ(report.memory_bytes(), 3 * 4096 + 2 * 96);
  EXPECT_EQ(report.mismatches, 0);
}

TEST(ReportTest, StepsAreThoseThatRan) {
  JobConfig config;
  config.shape = {.world_size = 1, .dp_group_count = 1, .group_capacity = 8, .total_capacity = 8};
  config.step_count = 3;
  config.layer_count = 2;
  const auto job = Job::Create(config, {.group_count = 1, .tokens = {1, 2, 3}}).value();
  for (std::int32_t layer = 0; layer < 2; ++layer) {
    for (const Direction direction : kDirections) {
      job->RecordAllToAll({.step = 0, .layer = layer, .direction = direction}, 1000);
    }
  }
  job->RecordAllToAll({.step = 1, .direction = Direction::kTp2Dp}, 1000);  // and there it was stopped

  EXPECT_EQ(nlohmann::json::parse(ReportJson(MakeReport(*job, "load.csv", 1.5)))["steps"], 2);
}

TEST(ReportTest, JsonHoldsWhatTheTableHolds) {
  const RunReport report = MakeReport(*FinishedJob(), "load.csv", 1.5);

  const nlohmann::json json = nlohmann::json::parse(ReportJson(report));

  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["mismatches"], 0);
  EXPECT_EQ(json["steps"], 2);
  EXPECT_EQ(json["all_to_alls"], 4);
  EXPECT_EQ(json["rows"], 40);
  EXPECT_EQ(json["bytes"], 30000);
  EXPECT_EQ(json["max_us"], 5.0);
  EXPECT_EQ(json["tp2dp"]["p99_us"], 2.0);
  EXPECT_EQ(json["dp2tp"]["bytes"], 10000);
  EXPECT_EQ(json["prepare"]["count"], 2);
  EXPECT_EQ(json["memory"]["total_bytes"], 12480);
  EXPECT_EQ(json["memory"]["overhead_bytes_by_rank"], (std::vector<int>{4096, 8192}));
  EXPECT_FALSE(json.contains("first_mismatch"));
  const std::string table = ReportTable(report);
  EXPECT_THAT(table, HasSubstr("0 mismatches in 40 rows"));
  EXPECT_THAT(table, HasSubstr("12480 bytes over all ranks"));
}

TEST(ReportTest, FirstMismatchIsTheEarliestOfAllRanks) {
  const std::unique_ptr<Job> job = FinishedJob();
  job->rank(0).differing_rows = 1;
  job->rank(0).first_mismatch = {.direction = Direction::kDp2Tp, .step = 1, .rank = 0, .row = {}};
  job->rank(1).differing_rows = 3;
  job->rank(1).first_mismatch = {.direction = Direction::kTp2Dp,
                                 .step = 1,
                                 .rank = 1,
                                 .row = {.memory_row = 4},
                                 .byte_offset = 17,
                                 .expected = 1,
                                 .actual = 2};

  const RunReport report = MakeReport(*job, "load.csv", 1.5);
  const nlohmann::json json = nlohmann::json::parse(ReportJson(report));

  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["mismatches"], 4);
  EXPECT_EQ(json["first_mismatch"]["rank"], 1);
  EXPECT_EQ(json["first_mismatch"]["direction"], "tp2dp");
  EXPECT_EQ(json["first_mismatch"]["row"], 4);
  EXPECT_EQ(json["first_mismatch"]["byte_offset"], 17);
  EXPECT_THAT(ReportTable(report), HasSubstr("MISMATCH in 4 rows; the first: step 1, layer 0, tp2dp, rank 1, row 4"));
}

TEST(ReportTest, OneShotRunsHaveNoPrepareLine) {
  RunReport report = MakeReport(*FinishedJob(), "load.csv", 1.5);
  EXPECT_THAT(ReportTable(report), HasSubstr("\nprepare "));

  report.prepares = {};

  EXPECT_THAT(ReportTable(report), Not(HasSubstr("\nprepare ")));
}

TEST(ReportTest, PathThatIsNoTextStillMakesValidJson) {
  const RunReport report = MakeReport(*FinishedJob(), "\xff\"load.csv", 1.5);

  EXPECT_TRUE(nlohmann::json::accept(ReportJson(report)));
  EXPECT_TRUE(nlohmann::json::accept(FailureJson("\xff\n\"x")));
}

}  // namespace
}  // namespace a8a::dp_mla
