// The README's example and a8a-bench, against a real daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/main_job/program.h"

namespace a8a::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ProgramsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto daemon = DaemonProcess::Start();
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
  }

  // A quick benchmark of few ranks and sessions; `flags` win.
  [[nodiscard]] std::vector<std::string> BenchCommand(const std::vector<std::string>& flags) const {
    std::vector<std::string> command = {
        A8A_BENCH_PATH,  "control",    "--seconds=1",          "--ranks=3",
        "--sessions=11", "--groups=4", "--window-bytes=65536", absl::StrCat("--runtime-dir=", daemon_->runtime_dir())};
    command.insert(command.end(), flags.begin(), flags.end());
    return command;
  }

  TempDir directory_;
  std::unique_ptr<DaemonProcess> daemon_;
};

// Often, because the ranks end at different times and the first to end leaves the group.
void RunPairs(const std::string& program, const std::string& runtime_dir) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    Program first({program, "0", runtime_dir});
    Program second({program, "1", runtime_dir});

    const ProgramResult first_result = first.Wait();
    const ProgramResult second_result = second.Wait();

    ASSERT_EQ(first_result.out, "rank 0: 1 rows from rank 0 and 1 from rank 1, all as sent\n") << first_result.err;
    ASSERT_EQ(second_result.out, "rank 1: 2 rows from rank 0 and 2 from rank 1, all as sent\n") << second_result.err;
    ASSERT_EQ(first_result.exit.code, 0);
    ASSERT_EQ(second_result.exit.code, 0);
  }
}

TEST_F(ProgramsTest, ReadmeExampleMovesItsRows) { RunPairs(A8A_README_EXAMPLE_PATH, daemon_->runtime_dir()); }

TEST_F(ProgramsTest, ExampleInCMovesItsRows) { RunPairs(A8A_C_EXAMPLE_PATH, daemon_->runtime_dir()); }

TEST_F(ProgramsTest, ControlBenchmarkMeasuresWhatItWasAskedTo) {
  const ProgramResult result = RunProgram(BenchCommand({"--json=-"}));

  ASSERT_EQ(result.exit.code, 0) << result.err;
  const nlohmann::json json = result.Json();
  EXPECT_EQ(json["group_start"]["ranks"], 3);
  EXPECT_EQ(json["group_start"]["window_bytes"], 65536);
  EXPECT_GE(json["group_start"]["last_rank_us"]["count"], 20);
  EXPECT_GT(json["group_start"]["last_rank_us"]["p50"], 0);
  EXPECT_GE(json["group_start"]["last_rank_us"]["max"], json["group_start"]["last_rank_us"]["p95"]);
  EXPECT_GT(json["attach_us"]["p99"], 0);
  EXPECT_GT(json["connect_us"]["p50"], 0);
  EXPECT_EQ(json["sessions"]["sessions"], 100);
  EXPECT_GT(json["sessions"]["get_stats_us"]["p50"], 0);
  EXPECT_EQ(json["sessions_and_groups"]["sessions"], 11);
  EXPECT_EQ(json["sessions_and_groups"]["groups"], 4);
  EXPECT_GT(json["sessions_and_groups"]["daemon_resident_bytes"], 1 << 20);
  EXPECT_NE(json["machine"]["kernel"], "");
  EXPECT_THAT(result.err, HasSubstr("GetStats, 11 sessions, 4 groups"));
}

TEST_F(ProgramsTest, ControlBenchmarkPrintsItsReportLast) {
  const std::string json_path = directory_.path() + "/control.json";
  const ProgramResult result = RunProgram(BenchCommand({"--quiet", absl::StrCat("--json=", json_path)}));

  ASSERT_EQ(result.exit.code, 0) << result.err;
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(result.out, HasSubstr("group start, 3 ranks, last rank ready"));
  EXPECT_THAT(result.out, HasSubstr("daemon's resident memory with 11 sessions, 4 groups: "));
  EXPECT_TRUE(WaitForNoSessions(*daemon_)) << daemon_->log();
}

TEST_F(ProgramsTest, ControlBenchmarkNamesADaemonThatIsNotThere) {
  const ProgramResult result = RunProgram(BenchCommand({absl::StrCat("--runtime-dir=", directory_.path())}));

  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.err, HasSubstr("group start: child "));
  EXPECT_THAT(result.err, HasSubstr(directory_.path()));
}

TEST_F(ProgramsTest, BenchmarkFlagsThatDoNotFitAreRefused) {
  for (const char* flag : {"--sessions=0", "--groups=12", "--ranks=65", "--seconds=0", "--no-such-flag"}) {
    const ProgramResult result = RunProgram(BenchCommand({flag}));
    EXPECT_EQ(result.exit.code, 2) << flag << ": " << result.err;
  }
  EXPECT_EQ(RunProgram({A8A_BENCH_PATH}).exit.code, 2);
  EXPECT_EQ(RunProgram({A8A_BENCH_PATH, "control", "--help"}).exit.code, 0);
}

TEST_F(ProgramsTest, CudaBenchmarkFlagsThatDoNotFitAreRefused) {
  for (const char* flag : {"--ranks=0,2", "--bytes=0", "--launches=1", "--repeats=102", "--no-such-flag"}) {
    const ProgramResult result = RunProgram({A8A_BENCH_PATH, "cuda", flag});
    EXPECT_EQ(result.exit.code, 2) << flag << ": " << result.err;
  }
  EXPECT_EQ(RunProgram({A8A_BENCH_PATH, "cuda", "--help"}).exit.code, 0);
}

// Whichever is missing first: CUDA in this build, a device here, or that device at the daemon, which has the host's
// memory.
TEST_F(ProgramsTest, CudaBenchmarkSaysWhatIsMissing) {
  const ProgramResult result = RunProgram(
      {A8A_BENCH_PATH, "cuda", "--quiet", "--ranks=1", absl::StrCat("--runtime-dir=", daemon_->runtime_dir())});

  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.err, HasSubstr("a8a-bench: rank 0"));
  EXPECT_THAT(result.out, IsEmpty());
}

}  // namespace
}  // namespace a8a::testing
