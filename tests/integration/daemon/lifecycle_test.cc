// Starts and ends of the daemon: what it refuses, what it leaves behind, how it drains.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/daemon/daemon_fixture.h"

namespace a8a::testing {
namespace {

using ::grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

DaemonProcess::Options WithFlags(const std::vector<std::string>& flags, const std::string& runtime_dir = "") {
  DaemonProcess::Options options;
  options.flags = flags;
  options.runtime_dir = runtime_dir;
  return options;
}

// A start that must fail.
struct FailedStart {
  ExitState state;
  std::string log;
  bool left_something;
};
FailedStart Fail(const std::vector<std::string>& flags, const std::string& runtime_dir = "") {
  const auto daemon = DaemonProcess::Spawn(WithFlags(flags, runtime_dir));
  EXPECT_TRUE(daemon.ok()) << daemon.status();
  const auto state = (*daemon)->Wait();
  EXPECT_TRUE(state.ok()) << state.status();
  return {
      .state = *state, .log = (*daemon)->log(), .left_something = std::filesystem::exists((*daemon)->runtime_dir())};
}

auto LineCount(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

// --- Starts that fail ---

TEST(FailedStartTest, CudaIsRefusedInOneLine) {
  if (void* const driver = ::dlopen("libcuda.so.1", RTLD_LAZY); driver != nullptr) {
    ::dlclose(driver);
    GTEST_SKIP() << "there is a CUDA driver here";
  }
  const FailedStart start = Fail({"--backend=cuda"});

  EXPECT_EQ(start.state.code, 1);
  EXPECT_THAT(start.log, HasSubstr("libcuda.so.1 is not there: this machine has no CUDA driver"));
  EXPECT_EQ(LineCount(start.log), 1) << start.log;
  EXPECT_FALSE(start.left_something);
}

TEST(FailedStartTest, AnUnknownSocketGroupLeavesNothing) {
  const FailedStart start = Fail({"--socket-group=no-such-group"});

  EXPECT_EQ(start.state.code, 1);
  EXPECT_THAT(start.log, HasSubstr("no-such-group"));
  EXPECT_FALSE(start.left_something);
}

TEST(FailedStartTest, ATooLongRuntimeDirIsRefusedWithBothLengths) {
  const FailedStart start = Fail({absl::StrCat("--runtime-dir=/tmp/", std::string(100, 'x'))});

  EXPECT_EQ(start.state.code, 2);
  EXPECT_THAT(start.log, HasSubstr("socket path, here of 114 bytes, has at most 107"));
}

TEST(FailedStartTest, AnUnknownFlagIsRefusedInOneLine) {
  const FailedStart start = Fail({"--nonsense"});

  EXPECT_EQ(start.state.code, 2);
  EXPECT_THAT(start.log, HasSubstr("--nonsense"));
  EXPECT_EQ(LineCount(start.log), 1) << start.log;
}

class ConfigFileStartTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& text) {
    std::ofstream(path_) << text;
    return absl::StrCat("--config=", path_);
  }

  const TempDir directory_;
  const std::string path_ = directory_.path() + "/a8a.toml";
};

TEST_F(ConfigFileStartTest, AnErrorIsToldWithFileLineAndKey) {
  const FailedStart start = Fail({Write("# comment\nsession_max = \"many\"\n")});

  EXPECT_EQ(start.state.code, 2);
  EXPECT_EQ(start.log,
            absl::StrCat("a8a-daemon: ", path_, ":2: session_max: is of type string; allowed: an integer\n"));
  EXPECT_FALSE(start.left_something);
}

TEST_F(ConfigFileStartTest, AMissingFileIsTold) {
  const FailedStart start = Fail({absl::StrCat("--config=", path_)});

  EXPECT_EQ(start.state.code, 2);
  EXPECT_THAT(start.log, HasSubstr(path_));
}

TEST_F(ConfigFileStartTest, CheckConfigOnlyChecks) {
  const FailedStart good = Fail({Write("session_max = 7\n"), "--check-config"});
  EXPECT_EQ(good.state.code, 0) << good.log;
  EXPECT_FALSE(good.left_something);

  EXPECT_EQ(Fail({Write("sesion_max = 7\n"), "--check-config"}).state.code, 2);
}

TEST_F(ConfigFileStartTest, TheFileIsInForce) {
  const auto daemon = DaemonProcess::Start(WithFlags({Write("session_max = 1\n")}));
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  const DaemonClient client((*daemon)->grpc_address());
  const std::unique_ptr<Session> only = client.Attach();

  EXPECT_THAT(client.Attach()->Finish(), HasCode(grpc::StatusCode::RESOURCE_EXHAUSTED));
}

TEST(VersionTest, IsPrinted) {
  const FailedStart start = Fail({"--version"});

  EXPECT_EQ(start.state.code, 0);
  EXPECT_THAT(start.log, MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

// --- The runtime directory ---

TEST(RuntimeDirectoryTest, ASecondDaemonNamesTheFirstAndHarmsNothing) {
  const auto first = DaemonProcess::Start();
  ASSERT_TRUE(first.ok()) << first.status();

  const FailedStart second = Fail({}, (*first)->runtime_dir());

  EXPECT_EQ(second.state.code, 1);
  EXPECT_THAT(second.log, HasSubstr(absl::StrCat("(pid ", (*first)->pid(), ")")));
  EXPECT_EQ(LineCount(second.log), 1) << second.log;
  const DaemonClient client((*first)->grpc_address());
  EXPECT_NE(client.Attach()->id(), 0U);
}

TEST(RuntimeDirectoryTest, ADaemonReplacesTheSocketsOfAKilledOne) {
  const TempDir directory;
  const std::string runtime_dir = directory.path() + "/run";
  const auto killed = DaemonProcess::Start(WithFlags({}, runtime_dir));
  ASSERT_TRUE(killed.ok()) << killed.status();
  (*killed)->Kill();
  ASSERT_TRUE(std::filesystem::exists((*killed)->grpc_socket_path())) << "SIGKILL leaves the socket behind";

  const auto next = DaemonProcess::Start(WithFlags({}, runtime_dir));

  ASSERT_TRUE(next.ok()) << next.status();
  const DaemonClient client((*next)->grpc_address());
  EXPECT_NE(client.Attach()->id(), 0U);
}

TEST(RuntimeDirectoryTest, SocketsAreForOwnerAndGroupAndTheDirectoryIsFound) {
  const auto daemon = DaemonProcess::Start();
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  struct stat status = {};

  for (const std::string& path : {(*daemon)->grpc_socket_path(), (*daemon)->fd_socket_path()}) {
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0660U) << path;
  }
  std::ifstream pid_file(absl::StrCat((*daemon)->runtime_dir(), "/", kLockFileName));
  pid_t pid = 0;
  pid_file >> pid;
  EXPECT_EQ(pid, (*daemon)->pid());
}

TEST(RuntimeDirectoryTest, NothingIsLeftAfterAnOrderlyEnd) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const auto daemon = DaemonProcess::Start();
    ASSERT_TRUE(daemon.ok()) << daemon.status();

    (*daemon)->Signal(signal);

    const auto state = (*daemon)->Wait();
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_EQ(state->code, 0);
    EXPECT_FALSE(std::filesystem::exists((*daemon)->runtime_dir()));
  }
}

// --- Draining ---

class DrainTest : public DaemonTest {
 protected:
  DrainTest() { flags_ = {"--drain-timeout=60s"}; }

  void SetUp() override {
    DaemonTest::SetUp();
    session_ = client_->Attach();
    group_id_ = MustFormGroup("g", {session_.get()}).group().group_id();
  }
  // SIGTERM, and waits until the session is told.
  void BeginStop() {
    daemon_->Signal(SIGTERM);
    const std::optional<v1::AttachResponse> event = session_->Read();
    ASSERT_TRUE(event.has_value() && event->has_draining());
  }

  std::unique_ptr<Session> session_;
  std::uint64_t group_id_ = 0;
};

TEST_F(DrainTest, ARunningGroupFinishesAndNothingNewBegins) {
  BeginStop();

  EXPECT_EQ(client_->Health(""), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(client_->Health("a8a.v1.GroupService"), HealthCheckResponse::NOT_SERVING);
  EXPECT_THAT(client_->Attach()->Finish(), HasCode(grpc::StatusCode::UNAVAILABLE));
  v1::JoinGroupResponse joined;
  EXPECT_THAT(Join(JoinRequest(*session_, "h", 0, 1), &joined), HasCode(grpc::StatusCode::UNAVAILABLE));
  MustRegisterWindow(group_id_, "w", 4096, {session_.get()});
  EXPECT_TRUE(daemon_->running());
  ASSERT_THAT(Leave(*session_, group_id_), IsOk());

  EXPECT_THAT(session_->Finish(), HasCode(grpc::StatusCode::UNAVAILABLE));
  EXPECT_EQ(daemon_->Wait()->code, 0);
  EXPECT_FALSE(std::filesystem::exists(daemon_->runtime_dir()));
}

TEST_F(DrainTest, ASecondSignalEndsAtOnceAndLeavesTheStateOnly) {
  BeginStop();

  // What comes within half a second of the first is not a second one.
  EXPECT_TRUE(Eventually([&] {
    daemon_->Signal(SIGTERM);
    return daemon_->WaitForLog("stopped_at_once", absl::Milliseconds(5));
  }));

  EXPECT_EQ(daemon_->Wait()->code, 1);
  // Of the session, which nobody has ended: the next daemon would take it up.
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(daemon_->runtime_dir())) {
    left.push_back(entry.path().filename());
  }
  EXPECT_THAT(left, ::testing::ElementsAre("state"));
}

TEST_F(DrainTest, SignalsThatComeTogetherAreOne) {
  daemon_->Signal(SIGINT);
  daemon_->Signal(SIGTERM);
  ASSERT_TRUE(daemon_->WaitForLog("draining"));

  ASSERT_THAT(Leave(*session_, group_id_), IsOk());

  EXPECT_EQ(daemon_->Wait()->code, 0);
}

TEST_F(DrainTest, ProbesOfHealthStillConnectWhileGroupsRun) {
  BeginStop();

  const DaemonClient newcomer(daemon_->grpc_address());

  EXPECT_EQ(newcomer.Health(""), HealthCheckResponse::NOT_SERVING);
  ASSERT_THAT(Leave(*session_, group_id_), IsOk());
  EXPECT_EQ(daemon_->Wait()->code, 0);
}

TEST_F(DrainTest, AJoinThatWaitsIsToldToGoElsewhere) {
  const std::unique_ptr<Session> waiting_session = client_->Attach();
  v1::JoinGroupResponse response;
  auto waiting =
      std::async(std::launch::async, [&] { return Join(JoinRequest(*waiting_session, "h", 0, 2), &response); });
  ASSERT_TRUE(Eventually([&] { return client_->Stats().groups_size() == 2; }));

  BeginStop();
  ASSERT_THAT(Leave(*session_, group_id_), IsOk());

  EXPECT_THAT(waiting.get(), HasCode(grpc::StatusCode::UNAVAILABLE));
  EXPECT_EQ(daemon_->Wait()->code, 0);
}

class DrainTimeoutTest : public DrainTest {
 protected:
  DrainTimeoutTest() { flags_ = {"--drain-timeout=100ms"}; }
};

TEST_F(DrainTimeoutTest, GroupsThatStillRunAreEnded) {
  BeginStop();

  const std::optional<v1::AttachResponse> event = session_->Read();
  ASSERT_TRUE(event.has_value() && event->has_group_aborted());
  EXPECT_EQ(event->group_aborted().reason(), v1::END_REASON_DRAINED);
  EXPECT_THAT(session_->Finish(), HasCode(grpc::StatusCode::UNAVAILABLE));
  EXPECT_EQ(daemon_->Wait()->code, 0);
}

// --- The log ---

TEST(LogFormatTest, EveryJsonLineIsAnObjectWithTimeLevelAndEvent) {
  const auto daemon = DaemonProcess::Start(WithFlags({"--log-format=json", "--log-level=debug"}));
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  const DaemonClient client((*daemon)->grpc_address());
  EXPECT_THAT(client.Attach("a \"quoted\" name \\")->Goodbye(), IsOk());
  ASSERT_EQ((*daemon)->Stop()->code, 0);

  std::istringstream lines((*daemon)->log());
  std::vector<std::string> events;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json object = nlohmann::json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(object.is_object()) << line;
    ASSERT_TRUE(object.contains("time") && object.contains("level") && object.contains("event")) << line;
    events.push_back(object["event"]);
    if (object["event"] == "session_attached") {
      EXPECT_EQ(object["client"], "a \"quoted\" name \\");
    }
  }
  EXPECT_THAT(events, ::testing::IsSupersetOf({"serving", "session_attached", "session_ended", "stopped"}));
}

}  // namespace
}  // namespace a8a::testing
