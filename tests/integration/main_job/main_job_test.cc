// a8a-dp-mla as a user runs it, when all is well.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/main_job/program.h"

namespace a8a::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Eight columns: ordinary steps, idle ranks, one hot rank, nothing at all, and all at once again.
constexpr char kLoad[] =
    "step,rank0,rank1,rank2,rank3,rank4,rank5,rank6,rank7\n"
    "0,3,4,2,5,1,3,2,4\n"
    "1,0,0,7,0,0,0,1,0\n"
    "2,0,0,0,0,0,61,0,0\n"
    "3,0,0,0,0,0,0,0,0\n"
    "4,1,1,1,1,1,1,1,1\n";
constexpr std::int64_t kLoadSteps = 5;
constexpr std::int64_t kLoadTokens = 24 + 8 + 61 + 0 + 8;

class MainJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto daemon = DaemonProcess::Start();
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    trace_ = directory_.path() + "/load.csv";
    std::ofstream(trace_) << kLoad;
  }

  // A quick run of the load above; `flags` win.
  [[nodiscard]] std::vector<std::string> Command(const std::vector<std::string>& flags) const {
    std::vector<std::string> command = {A8A_DP_MLA_PATH, absl::StrCat("--runtime-dir=", daemon_->runtime_dir())};
    command.insert(command.end(), flags.begin(), flags.end());
    return command;
  }
  [[nodiscard]] std::vector<std::string> LoadCommand(std::vector<std::string> flags) const {
    flags.insert(flags.begin(), {absl::StrCat("--trace=", trace_), "--steps=0", "--layers=2"});
    return Command(flags);
  }

  TempDir directory_;
  std::string trace_;
  std::unique_ptr<DaemonProcess> daemon_;
};

struct RunShape {
  int world_size;
  int dp;
  std::int64_t row_bytes[2];
  std::vector<std::string> flags;
};

std::ostream& operator<<(std::ostream& out, const RunShape& shape) {
  return out << shape.world_size << " ranks, dp " << shape.dp << ", rows of " << shape.row_bytes[0] << " and "
             << shape.row_bytes[1] << " bytes";
}

class MainJobShapeTest : public MainJobTest, public ::testing::WithParamInterface<RunShape> {};

TEST_P(MainJobShapeTest, EveryByteIsRightAndEveryRowIsCounted) {
  const RunShape& shape = GetParam();
  std::vector<std::string> flags = {absl::StrCat("--world-size=", shape.world_size), absl::StrCat("--dp=", shape.dp),
                                    absl::StrCat("--row-bytes-tp2dp=", shape.row_bytes[0]),
                                    absl::StrCat("--row-bytes-dp2tp=", shape.row_bytes[1]), "--json"};
  flags.insert(flags.end(), shape.flags.begin(), shape.flags.end());

  const ProgramResult result = RunProgram(LoadCommand(flags));

  ASSERT_EQ(result.exit.code, 0) << result.err;
  const nlohmann::json json = result.Json();
  const std::int64_t rows = kLoadTokens * shape.world_size * 2;  // by direction; two layers
  EXPECT_EQ(json["ok"], true);
  EXPECT_EQ(json["mismatches"], 0);
  EXPECT_EQ(json["steps"], kLoadSteps);
  EXPECT_EQ(json["all_to_alls"], kLoadSteps * 2 * 2);
  EXPECT_EQ(json["rows"], rows * 2);
  EXPECT_EQ(json["tp2dp"]["bytes"], rows * shape.row_bytes[0]);
  EXPECT_EQ(json["dp2tp"]["bytes"], rows * shape.row_bytes[1]);
  EXPECT_GT(json["p50_us"], 0);
  EXPECT_GE(json["p99_us"], json["p50_us"]);
  EXPECT_GE(json["max_us"], json["p99_us"]);
  EXPECT_EQ(json["memory"]["overhead_bytes_by_rank"].size(), static_cast<std::size_t>(shape.world_size));
  EXPECT_GT(json["memory"]["total_bytes"], 0);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MainJobShapeTest,
                         ::testing::Values(RunShape{1, 1, {100, 77}, {}}, RunShape{2, 1, {77, 100}, {}},
                                           RunShape{2, 2, {100, 77}, {}}, RunShape{3, 1, {64, 33}, {}},
                                           RunShape{3, 3, {1, 1}, {}}, RunShape{4, 2, {18432, 16384}, {}},
                                           RunShape{4, 4, {100, 77}, {}}, RunShape{6, 2, {100, 77}, {}},
                                           RunShape{6, 3, {4096, 4095}, {}}, RunShape{8, 1, {100, 77}, {}},
                                           RunShape{8, 2, {100, 77}, {}}, RunShape{8, 4, {2048, 77}, {}},
                                           RunShape{8, 8, {18432, 16384}, {}}));
INSTANTIATE_TEST_SUITE_P(OneShot, MainJobShapeTest,
                         ::testing::Values(RunShape{1, 1, {100, 77}, {"--mode=oneshot"}},
                                           RunShape{3, 3, {100, 77}, {"--mode=oneshot"}},
                                           RunShape{4, 2, {18432, 16384}, {"--mode=oneshot"}},
                                           RunShape{8, 4, {100, 77}, {"--mode=oneshot"}}));
INSTANTIATE_TEST_SUITE_P(FreeRunning, MainJobShapeTest,
                         ::testing::Values(RunShape{2, 2, {100, 77}, {"--free-running", "--layers=2"}},
                                           RunShape{8, 2, {100, 77}, {"--free-running"}},
                                           RunShape{8, 8, {2048, 1024}, {"--free-running"}},
                                           RunShape{8, 8, {100, 77}, {"--free-running", "--mode=oneshot"}}));

TEST_F(MainJobTest, ComesWithATraceOfItsOwn) {
  const ProgramResult result = RunProgram(
      Command({"--steps=2", "--layers=1", "--row-bytes-tp2dp=64", "--row-bytes-dp2tp=48", "--json", "--backend=host"}));

  ASSERT_EQ(result.exit.code, 0) << result.err;
  EXPECT_THAT(result.Json()["trace"].get<std::string>(), HasSubstr("decode_steps_dp8.csv"));
  EXPECT_EQ(result.Json()["rows"], 2 * 8 * (329 + 330));
}

TEST_F(MainJobTest, PrintsATableAndProgressApartFromEachOther) {
  const ProgramResult result = RunProgram(LoadCommand({"--world-size=2", "--row-bytes-tp2dp=64"}));

  ASSERT_EQ(result.exit.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("GB/s"));
  EXPECT_THAT(result.out, HasSubstr("0 mismatches in 808 rows"));
  EXPECT_THAT(result.out, HasSubstr("Memory that a8a took"));
  EXPECT_THAT(result.err, HasSubstr("starting 2 ranks"));
  EXPECT_THAT(result.err, Not(HasSubstr("\x1b")));
}

TEST_F(MainJobTest, QuietSaysNothingButTheResult) {
  const ProgramResult table = RunProgram(LoadCommand({"--world-size=2", "--quiet"}));
  const ProgramResult json = RunProgram(LoadCommand({"--world-size=2", "--quiet", "--json"}));

  EXPECT_EQ(table.exit.code, 0);
  EXPECT_THAT(table.err, IsEmpty());
  EXPECT_THAT(table.out, HasSubstr("GB/s"));
  EXPECT_EQ(json.exit.code, 0);
  EXPECT_THAT(json.err, IsEmpty());
  EXPECT_EQ(json.Json()["mismatches"], 0);
}

TEST_F(MainJobTest, TwoRunsAtOnceDoNotMeet) {
  Program first(LoadCommand({"--world-size=3", "--json"}));
  Program second(LoadCommand({"--world-size=2", "--json", "--seed=99"}));

  const ProgramResult first_result = first.Wait();
  const ProgramResult second_result = second.Wait();

  EXPECT_EQ(first_result.exit.code, 0) << first_result.err;
  EXPECT_EQ(second_result.exit.code, 0) << second_result.err;
  EXPECT_EQ(second_result.Json()["seed"], 99);
}

TEST_F(MainJobTest, LeavesNothingWithTheDaemon) {
  ASSERT_EQ(RunProgram(LoadCommand({"--world-size=4", "--quiet"})).exit.code, 0);

  EXPECT_TRUE(WaitForNoSessions(*daemon_)) << daemon_->log();
}

}  // namespace
}  // namespace a8a::testing
