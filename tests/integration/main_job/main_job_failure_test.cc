// a8a-dp-mla as a user runs it, when something goes wrong: bytes, flags, traces, ranks, the daemon, the user.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/integration/main_job/program.h"

namespace a8a::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Far less than any timeout of the job: what was noticed within this was noticed, not waited out.
constexpr absl::Duration kPromptly = absl::Seconds(20);

class MainJobFailureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto daemon = DaemonProcess::Start();
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    WriteTrace("step,rank0,rank1,rank2,rank3\n0,3,2,0,4\n1,0,0,0,0\n2,5,1,0,2\n");
  }

  void WriteTrace(const std::string& text) const { std::ofstream(trace_, std::ios::binary) << text; }
  [[nodiscard]] std::vector<std::string> Command(const std::vector<std::string>& flags) const {
    std::vector<std::string> command = {A8A_DP_MLA_PATH,
                                        absl::StrCat("--runtime-dir=", daemon_->runtime_dir()),
                                        absl::StrCat("--trace=", trace_),
                                        "--steps=0",
                                        "--layers=2",
                                        "--world-size=4",
                                        "--row-bytes-tp2dp=100",
                                        "--row-bytes-dp2tp=77",
                                        "--quiet"};
    command.insert(command.end(), flags.begin(), flags.end());
    return command;
  }
  // A run that would go on for minutes.
  [[nodiscard]] std::vector<std::string> LongCommand(std::vector<std::string> flags) const {
    std::string trace = "step,rank0,rank1,rank2,rank3\n";
    for (int step = 0; step < 20'000; ++step) absl::StrAppend(&trace, step, ",3,1,4,1\n");
    WriteTrace(trace);
    flags.insert(flags.begin(), "--layers=1000");
    return Command(flags);
  }
  [[nodiscard]] ProgramResult RunCorrupted(const char* step_and_rank, const std::vector<std::string>& flags) const {
    return RunProgram(Command(flags), {absl::StrCat("A8A_DP_MLA_CORRUPT=", step_and_rank)});
  }
  void ExpectRefused(const std::vector<std::string>& flags, const std::string& reason) const {
    const ProgramResult result = RunProgram(Command(flags));
    EXPECT_EQ(result.exit.code, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(reason));
    EXPECT_THAT(result.out, IsEmpty());
  }

  TempDir directory_;
  const std::string trace_ = directory_.path() + "/load.csv";
  std::unique_ptr<DaemonProcess> daemon_;
};

void ExpectAllEnded(const std::vector<ChildProcess>& children) {
  for (const ChildProcess& child : children) {
    EXPECT_TRUE(child.EndsWithin(absl::ZeroDuration())) << "process " << child.pid << " still runs";
  }
}

TEST_F(MainJobFailureTest, OneWrongByteIsFoundAndNamed) {
  const ProgramResult result = RunCorrupted("2,3", {"--json"});

  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.err, HasSubstr("mismatch: step 2, layer 0, tp2dp, rank 3, row 0"));
  EXPECT_THAT(result.err, HasSubstr("byte 50 is 0x"));
  const nlohmann::json json = result.Json();
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["mismatches"], 1);
  const nlohmann::json& first = json["first_mismatch"];
  EXPECT_EQ(first["step"], 2);
  EXPECT_EQ(first["rank"], 3);
  EXPECT_EQ(first["direction"], "tp2dp");
  EXPECT_EQ(first["row"], 0);
  EXPECT_EQ(first["in_padding"], false);
  EXPECT_EQ(first["byte_offset"], 50);
  EXPECT_EQ(first["expected"].get<int>() ^ first["actual"].get<int>(), 0x40);
}

TEST_F(MainJobFailureTest, OneWrongByteIsFoundInEveryMode) {
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {"--mode=oneshot"}, {"--free-running"}, {"--free-running", "--mode=oneshot"}}) {
    const ProgramResult result = RunCorrupted("2,0", flags);

    EXPECT_EQ(result.exit.code, 1) << flags[0];
    EXPECT_THAT(result.err, HasSubstr("mismatch: step 2, layer 0, tp2dp, rank 0, row 0")) << flags[0];
  }
}

TEST_F(MainJobFailureTest, OneWrongByteWhereNoRowBelongsIsFound) {
  const ProgramResult result = RunCorrupted("1,2", {});

  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.err, HasSubstr("mismatch: step 1, layer 0, tp2dp, rank 2, row 0 (padding"));
  EXPECT_THAT(result.err, HasSubstr("is 0x9b, expected 0xdb"));
}

TEST_F(MainJobFailureTest, MismatchInTheLastStepIsFound) {
  const ProgramResult result = RunCorrupted("0,1", {"--steps=1", "--layers=1", "--json"});

  EXPECT_EQ(result.exit.code, 1);
  EXPECT_EQ(result.Json()["mismatches"], 1);
}

TEST_F(MainJobFailureTest, BadTracesAreRefusedWithFileAndLine) {
  const std::string header = "step,rank0,rank1,rank2,rank3\n";
  for (const auto& [text, line] :
       std::vector<std::pair<std::string, int>>{{"", 1},
                                                {"0,1,2,3,4\n", 1},
                                                {header, 2},
                                                {header + "0,1,2,3,4\n\n", 3},
                                                {header + "0,1,2,3\n", 2},
                                                {header + "0,1,2,3,4\n1,1,-2,3,4\n", 3},
                                                {header + "0,1,2,3,1000001\n", 2},
                                                {header + "0,1,x,3,4\n", 2},
                                                {header + std::string("0,1,\0,3,4\n", 10), 2},
                                                {"step,rank0\n0,1\n", 1}}) {
    WriteTrace(text);
    ExpectRefused({}, absl::StrCat(trace_, ":", line, ": "));
  }
}

TEST_F(MainJobFailureTest, ABadTraceIsAJsonObjectToo) {
  WriteTrace("step,rank0,rank1,rank2,rank3\n0,1,2,3\n");

  const ProgramResult result = RunProgram(Command({"--json"}));

  EXPECT_EQ(result.exit.code, 2);
  const nlohmann::json json = result.Json();
  EXPECT_EQ(json["ok"], false);
  EXPECT_THAT(json["error"].get<std::string>(), HasSubstr(absl::StrCat(trace_, ":2: ")));
}

TEST_F(MainJobFailureTest, AResultThatCannotBeWrittenIsAFailure) {
  for (const char* form : {"--json", "--quiet"}) {
    std::vector<std::string> command = Command({form});
    std::string line;
    for (const std::string& word : command) absl::StrAppend(&line, "'", word, "' ");
    const ProgramResult result = RunProgram({"/bin/sh", "-c", absl::StrCat("exec ", line, ">/dev/full")});

    EXPECT_EQ(result.exit.code, 1) << form;
    EXPECT_THAT(result.err, HasSubstr("could not be written")) << form;
  }
}

TEST_F(MainJobFailureTest, FlagsThatDoNotFitAreRefused) {
  ExpectRefused({"--seed=-1"}, "--seed");
  ExpectRefused({"--steps=4"}, "--steps 4 is more than the 3 steps");
  ExpectRefused({"--dp=3"}, "--dp 3 does not divide --world-size 4");
  ExpectRefused({"--world-size=65"}, "--world-size");
  ExpectRefused({"--world-size=0"}, "--world-size");
  ExpectRefused({"--row-bytes-tp2dp=0"}, "--row-bytes-tp2dp");
  ExpectRefused({"--layers=-1"}, "--layers");
  ExpectRefused({"--backend=gpu"}, "--backend");
  ExpectRefused({"--mode=both"}, "--mode");
  ExpectRefused({"--no-such-flag"}, "--no-such-flag");
  ExpectRefused({"--trace=/nonexistent.csv"}, "/nonexistent.csv");
}

TEST_F(MainJobFailureTest, HelpNamesTheExitStatuses) {
  const ProgramResult result = RunProgram({A8A_DP_MLA_PATH, "--help"});

  EXPECT_EQ(result.exit.code, 0);
  for (const char* flag : {"--trace", "--world-size", "--dp", "--layers", "--steps", "--row-bytes-tp2dp",
                           "--row-bytes-dp2tp", "--runtime-dir", "--backend", "--seed", "--json", "--quiet"}) {
    EXPECT_THAT(result.out, HasSubstr(flag));
  }
  EXPECT_THAT(result.out, HasSubstr("Exit status: 0"));
  EXPECT_THAT(result.out, Not(HasSubstr("rank-process")));
}

TEST_F(MainJobFailureTest, DaemonThatIsNotThereIsNamed) {
  const ProgramResult result =
      RunProgram(Command({absl::StrCat("--runtime-dir=", directory_.path()), "--json", "--timeout=5"}));

  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.err, HasSubstr("UNAVAILABLE"));
  EXPECT_THAT(result.err, HasSubstr(directory_.path()));
  EXPECT_EQ(result.Json()["ok"], false);
}

TEST_F(MainJobFailureTest, SignalsEndTheRunAndAllRanks) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Program job(LongCommand({}));
    ASSERT_TRUE(WaitForAllToAlls(*daemon_));
    const std::vector<ChildProcess> ranks = job.Children();
    ASSERT_EQ(ranks.size(), 4u);

    job.Signal(signal);
    const ProgramResult result = job.Wait();

    EXPECT_EQ(result.exit.signal, signal);
    EXPECT_THAT(result.err, HasSubstr("interrupted"));
    ExpectAllEnded(ranks);
    EXPECT_TRUE(WaitForNoSessions(*daemon_)) << daemon_->log();
  }
}

TEST_F(MainJobFailureTest, RankThatIsKilledIsNamedPromptly) {
  for (const std::vector<std::string>& flags :
       std::vector<std::vector<std::string>>{{}, {"--free-running"}, {"--mode=oneshot"}}) {
    Program job(LongCommand(flags));
    ASSERT_TRUE(WaitForAllToAlls(*daemon_));
    const std::vector<ChildProcess> ranks = job.Children();
    ASSERT_NE(FindRank(ranks, 2), nullptr);
    const absl::Time killed_at = absl::Now();

    ::kill(FindRank(ranks, 2)->pid, SIGKILL);
    const ProgramResult result = job.Wait();

    EXPECT_LT(absl::Now() - killed_at, kPromptly);
    EXPECT_EQ(result.exit.code, 1);
    EXPECT_THAT(result.err, HasSubstr("rank 2 was killed by SIGKILL"));
    ExpectAllEnded(ranks);
    EXPECT_TRUE(WaitForNoSessions(*daemon_)) << daemon_->log();
  }
}

TEST_F(MainJobFailureTest, RankThatStopsRunsIntoTheTimeout) {
  Program job(LongCommand({"--free-running", "--timeout=2"}));
  ASSERT_TRUE(WaitForAllToAlls(*daemon_));
  const std::vector<ChildProcess> ranks = job.Children();
  ASSERT_NE(FindRank(ranks, 1), nullptr);

  ::kill(FindRank(ranks, 1)->pid, SIGSTOP);
  const ProgramResult result = job.Wait();

  EXPECT_EQ(result.exit.code, 1);
  EXPECT_THAT(result.err, HasSubstr("DEADLINE_EXCEEDED"));
  EXPECT_THAT(result.err, HasSubstr("rank 1"));
  ExpectAllEnded(ranks);
}

TEST_F(MainJobFailureTest, RanksEndWithAParentThatIsKilled) {
  Program job(LongCommand({}));
  ASSERT_TRUE(WaitForAllToAlls(*daemon_));
  const std::vector<ChildProcess> ranks = job.Children();
  ASSERT_EQ(ranks.size(), 4u);

  job.Signal(SIGKILL);

  for (const ChildProcess& rank : ranks) EXPECT_TRUE(rank.EndsWithin(kPatience)) << rank.pid;
  EXPECT_TRUE(WaitForNoSessions(*daemon_)) << daemon_->log();
}

}  // namespace
}  // namespace a8a::testing
