// a8actl: every subcommand, its text, its JSON and its exit status, against a real daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/integration/main_job/program.h"

namespace a8a::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int kNotWell = 1;
constexpr int kUsage = 2;
constexpr int kUnreachable = 3;
constexpr int kDenied = 4;
constexpr int kRefused = 5;

class A8actlTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(config_) << "host_pool_bytes = \"64MiB\"\n";
    auto daemon = DaemonProcess::Start({.flags = {absl::StrCat("--config=", config_)}});
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
  }

  [[nodiscard]] ProgramResult Run(std::vector<std::string> arguments,
                                  const std::vector<std::string>& environment = {}) const {
    arguments.insert(arguments.begin(), {A8A_CTL_PATH, absl::StrCat("--runtime-dir=", daemon_->runtime_dir())});
    return RunProgram(std::move(arguments), environment);
  }
  // The JSON of a command that must succeed.
  [[nodiscard]] nlohmann::json Json(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const ProgramResult result = Run(std::move(arguments));
    EXPECT_EQ(result.exit.code, 0) << result.err << result.out;
    return result.Json();
  }

  // Two ranks that move rows until the test ends.
  [[nodiscard]] std::unique_ptr<Program> StartLoad() const {
    const std::string trace = directory_.path() + "/load.csv";
    std::string rows = "step,rank0,rank1\n";
    for (int step = 0; step < 20'000; ++step) absl::StrAppend(&rows, step, ",3,1\n");
    std::ofstream(trace) << rows;
    auto load = std::make_unique<Program>(
        std::vector<std::string>{A8A_DP_MLA_PATH, absl::StrCat("--runtime-dir=", daemon_->runtime_dir()),
                                 absl::StrCat("--trace=", trace), "--steps=0", "--layers=1000", "--world-size=2",
                                 "--dp=2", "--row-bytes-tp2dp=100", "--row-bytes-dp2tp=77", "--quiet"});
    EXPECT_TRUE(WaitForAllToAlls(*daemon_)) << daemon_->log();
    return load;
  }

  TempDir directory_;
  const std::string config_ = directory_.path() + "/a8a.toml";
  std::unique_ptr<DaemonProcess> daemon_;
};

TEST_F(A8actlTest, ShowsAnIdleDaemon) {
  const ProgramResult status = Run({"status"});
  EXPECT_EQ(status.exit.code, 0) << status.err;
  EXPECT_THAT(status.out, AllOf(HasSubstr("serving"), HasSubstr("64 MiB"), Not(HasSubstr("\x1b"))));
  EXPECT_EQ(Json({"status"})["health"], "SERVING");
  EXPECT_EQ(Json({"status"})["daemon"]["pid"], daemon_->pid());
  EXPECT_EQ(Json({"devices"})["devices"][0]["pool_limit_bytes"], 64 << 20);
  EXPECT_THAT(Json({"sessions"})["sessions"], IsEmpty());
  EXPECT_THAT(Json({"groups"})["groups"], IsEmpty());
  EXPECT_THAT(Json({"buffers"})["buffers"], IsEmpty());
  EXPECT_EQ(Json({"version"})["a8actl"], Json({"version"})["a8a-daemon"]);
  EXPECT_EQ(Json({"health"})["health"]["device/host"], "SERVING");
}

TEST_F(A8actlTest, ShowsWhatRunsAndEndsIt) {
  const std::unique_ptr<Program> load = StartLoad();

  EXPECT_EQ(Json({"sessions"})["sessions"].size(), 2U);
  const nlohmann::json group = Json({"groups"})["groups"][0];
  EXPECT_EQ(group["world_size"], 2);
  EXPECT_EQ(group["state"], "ready");
  EXPECT_EQ(group["ranks"].size(), 2U);
  EXPECT_GT(Json({"buffers"})["buffers"].size(), 0U);
  const nlohmann::json counted = Json({"stats"})["groups"][0]["ranks"][0]["total"];
  EXPECT_GT(counted["all_to_alls"], 0);
  const std::string id = absl::StrCat(group["group_id"].get<std::uint64_t>());
  EXPECT_THAT(Run({"groups"}).out, HasSubstr(group["name"].get<std::string>()));
  EXPECT_EQ(Json({"stats", "--group", id})["groups"].size(), 1U);
  EXPECT_EQ(Run({"stats", "--group", "999999"}).exit.code, kRefused);

  const ProgramResult top = Run({"top", "--count=2", "--interval=0.2", "--json"});
  EXPECT_EQ(top.exit.code, 0) << top.err;
  const std::vector<std::string> lines = absl::StrSplit(top.out, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2U) << top.out;
  const auto rates = nlohmann::json::parse(lines[1], nullptr, /*allow_exceptions=*/false);
  EXPECT_GT(rates["groups"][0]["total"]["all_to_alls_per_second"], 0) << lines[1];

  const ProgramResult revoked = Run({"revoke", "group", id});
  EXPECT_EQ(revoked.exit.code, 0) << revoked.err;
  EXPECT_NE(load->Wait().exit.code, 0) << "its group has ended";
  EXPECT_EQ(Run({"revoke", "group", "999999"}).exit.code, kRefused);
}

TEST_F(A8actlTest, DrainsAndTakesWorkAgain) {
  EXPECT_EQ(Run({"drain"}).exit.code, 0);
  EXPECT_EQ(Run({"status"}).exit.code, kNotWell);
  EXPECT_EQ(Run({"health"}).exit.code, kNotWell);
  EXPECT_EQ(Run({"undrain"}).exit.code, 0);
  EXPECT_EQ(Run({"status"}).exit.code, 0);
}

TEST_F(A8actlTest, ReloadsAndSaysWhatNeedsARestart) {
  std::ofstream(config_) << "host_pool_bytes = \"32MiB\"\ngroup_max_per_uid = 7\n";
  const ProgramResult result = Run({"reload"});

  EXPECT_EQ(result.exit.code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("in force: group_max_per_uid"), HasSubstr("restart: host_pool_bytes")));

  std::ofstream(config_) << "group_max_per_uid = -1\n";
  EXPECT_EQ(Run({"reload"}).exit.code, kRefused);
}

TEST_F(A8actlTest, ChecksAConfigFileWithTheDaemonsParser) {
  const std::string daemon = absl::StrCat("--daemon=", A8A_CTL_DAEMON_PATH);
  EXPECT_EQ(Run({"config", "check", config_, daemon}).exit.code, 0);

  std::ofstream(config_) << "host_pool_bytes = \"64MiB\"\nno_such_key = 1\n";
  const ProgramResult result = Run({"config", "check", config_, daemon});
  EXPECT_EQ(result.exit.code, kNotWell);
  EXPECT_THAT(result.out, AllOf(HasSubstr("no_such_key"), HasSubstr(":2")));
}

TEST_F(A8actlTest, DoctorFindsWhatIsWrong) {
  EXPECT_EQ(Run({"doctor"}).exit.code, 0);

  ASSERT_EQ(::unlink(daemon_->fd_socket_path().c_str()), 0);
  const ProgramResult result = Run({"doctor"});
  EXPECT_EQ(result.exit.code, kNotWell);
  EXPECT_THAT(result.out, AllOf(HasSubstr("failed"), HasSubstr("fd_socket")));
}

TEST_F(A8actlTest, ADaemonThatDoesNotRunIsOneLine) {
  daemon_->Kill();
  for (const char* command :
       {"status", "devices", "sessions", "groups", "buffers", "stats", "top", "health", "drain", "undrain", "reload"}) {
    const ProgramResult result = Run({command});
    EXPECT_EQ(result.exit.code, kUnreachable) << command;
    EXPECT_THAT(result.out, IsEmpty()) << command;
    EXPECT_THAT(result.err, HasSubstr(daemon_->runtime_dir()));
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
  }
  EXPECT_EQ(Run({"doctor"}).exit.code, kNotWell);
  EXPECT_EQ(Run({"version"}).exit.code, 0);
}

TEST_F(A8actlTest, ADaemonThatHangsIsUnreachable) {
  daemon_->Signal(SIGSTOP);
  const ProgramResult result = Run({"status", "--timeout=0.3"});
  daemon_->Signal(SIGCONT);

  EXPECT_EQ(result.exit.code, kUnreachable);
  EXPECT_THAT(result.err, Not(IsEmpty()));
}

TEST_F(A8actlTest, WrongFlagsAreUsage) {
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{{},
                                                                                         {"nonsense"},
                                                                                         {"status", "--nonsense"},
                                                                                         {"revoke", "rank", "1"},
                                                                                         {"revoke", "group"},
                                                                                         {"completion", "csh"},
                                                                                         {"status", "--timeout=0"}}) {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.exit.code, kUsage) << ::testing::PrintToString(arguments);
    EXPECT_THAT(result.err, HasSubstr("--help"));
  }
}

TEST_F(A8actlTest, OthersSeeTheirOwnAndMayNotAdministrate) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root, to become another user";
  daemon_.reset();
  auto daemon = DaemonProcess::Start({.flags = {"--socket-mode=0666"}});
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  daemon_ = *std::move(daemon);
  const std::filesystem::path runtime_dir = daemon_->runtime_dir();
  ASSERT_EQ(::chmod(runtime_dir.parent_path().c_str(), 0711), 0);
  ASSERT_EQ(::chmod(runtime_dir.c_str(), 0711), 0);
  const std::unique_ptr<Program> load = StartLoad();
  const auto as_nobody = [&](const std::string& command) {
    return RunProgram({"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", A8A_CTL_PATH, command,
                       absl::StrCat("--runtime-dir=", daemon_->runtime_dir()), "--json"});
  };

  const ProgramResult sessions = as_nobody("sessions");
  EXPECT_EQ(sessions.exit.code, 0) << sessions.err;
  EXPECT_THAT(sessions.Json()["sessions"], IsEmpty());
  EXPECT_EQ(as_nobody("drain").exit.code, kDenied);
}

// What a program prints on a terminal of so many columns.
std::string OnATerminal(unsigned short columns, const std::vector<std::string>& arguments, bool no_color) {
  winsize size = {.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
  int terminal = -1;
  const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (pid == 0) {
    ::setenv("TERM", "xterm-256color", 1);
    ::unsetenv("NO_COLOR");
    if (no_color) ::setenv("NO_COLOR", "1", 1);
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  std::string output;
  std::array<char, 4096> chunk;
  for (ssize_t size_read = 0; (size_read = ::read(terminal, chunk.data(), chunk.size())) > 0;) {
    output.append(chunk.data(), static_cast<std::size_t>(size_read));
  }
  ::close(terminal);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return output;
}

TEST_F(A8actlTest, ATerminalGetsColorsAndItsOwnWidth) {
  const std::vector<std::string> command = {A8A_CTL_PATH, "devices",
                                            absl::StrCat("--runtime-dir=", daemon_->runtime_dir())};

  EXPECT_THAT(OnATerminal(200, command, /*no_color=*/false), AllOf(HasSubstr("\x1b["), HasSubstr("UUID")));
  const std::string narrow = OnATerminal(60, command, /*no_color=*/true);
  EXPECT_THAT(narrow, Not(HasSubstr("\x1b[")));
  const std::string title = narrow.substr(0, narrow.find('\r'));
  EXPECT_LE(title.size(), 60U) << narrow;
  EXPECT_THAT(title, HasSubstr("DEVICE"));
}

TEST_F(A8actlTest, CompletionsNameEveryCommand) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const ProgramResult result = Run({"completion", shell});
    EXPECT_EQ(result.exit.code, 0);
    for (const char* command : {"status", "top", "doctor", "revoke", "--json"}) {
      EXPECT_THAT(result.out, HasSubstr(absl::string_view(command).substr(command[0] == '-' ? 2 : 0))) << shell;
    }
    EXPECT_THAT(result.out, ::testing::Not(HasSubstr("man-page"))) << shell;  // which no help shows
  }
  const std::string script = directory_.path() + "/completion.bash";
  std::ofstream(script) << Run({"completion", "bash"}).out;
  const ProgramResult completed = RunProgram(
      {"/bin/bash", "-c",
       absl::StrCat("source ", script,
                    "; COMP_WORDS=(a8actl dra); COMP_CWORD=1; _a8actl; printf '%s\\n' \"${COMPREPLY[@]}\"")});
  EXPECT_EQ(completed.out, "drain\n") << completed.err;
}

}  // namespace
}  // namespace a8a::testing
