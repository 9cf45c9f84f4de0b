// The daemon under a service manager: sockets that it is given, the watchdog, reloads. Any program that makes sockets
// can start it so; no systemd is needed. What the manager's store is for: tests/integration/lives.
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "tests/fakes/fake_service_manager.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/peer_process.h"
#include "tests/support/listening_socket.h"
#ifdef A8A_FAILPOINTS
#include "tests/integration/daemon/failpoint_board.h"
#endif

namespace a8a::testing {
namespace {

using ::testing::HasSubstr;

class ServiceManagerTest : public DaemonTest {
 protected:
  // Daemons are started by the tests.
  void SetUp() override {}
  void TearDown() override {
    client_.reset();
    daemon_.reset();
  }

  DaemonProcess::Options Options() const {
    DaemonProcess::Options options;
    options.runtime_dir = runtime_dir_;
    options.flags = {"--drain-timeout=50ms"};
    options.flags.insert(options.flags.end(), flags_.begin(), flags_.end());
    options.environment = {manager_.environment()};
    if (watchdog_period_ > absl::ZeroDuration()) {
      options.environment.push_back(absl::StrCat("WATCHDOG_USEC=", absl::ToInt64Microseconds(watchdog_period_)));
    }
    for (const UniqueFd& socket : sockets_) options.descriptors.emplace_back("a8a.socket", socket.get());
    return options;
  }
  void StartDaemon() {
    absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = DaemonProcess::Start(Options());
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    // Sockets that are passed take connections before.
    ASSERT_TRUE(daemon_->WaitForLog(" serving ")) << daemon_->log();
  }
  // As the socket unit does.
  void MakeSockets() {
    std::filesystem::create_directory(runtime_dir_);
    sockets_.push_back(ListeningSocket(grpc_path(), SOCK_STREAM));
    sockets_.push_back(ListeningSocket(fd_path(), SOCK_SEQPACKET));
  }
  std::string grpc_path() const { return runtime_dir_ + "/a8a.sock"; }
  std::string fd_path() const { return runtime_dir_ + "/fd.sock"; }
  // A client of the library, as a worker has it, whose connection may wait for the daemon.
  std::future<absl::StatusOr<std::unique_ptr<Client>>> ConnectMeanwhile() const {
    return std::async(std::launch::async, [dir = runtime_dir_] {
      return Client::Connect({.runtime_dir = dir, .timeout = absl::Seconds(60)});
    });
  }
  // A connection waits to be accepted.
  static void WaitForConnection(const UniqueFd& listener) {
    pollfd entry = {.fd = listener.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))), 1);
  }
  // Both sockets are of use to it.
  static void ExpectServed(const absl::StatusOr<std::unique_ptr<Client>>& client) {
    ASSERT_TRUE(client.ok()) << client.status();
    const auto buffer = (*client)->RegisterBuffer({.size_bytes = 4096, .device = Device::Host()});
    EXPECT_TRUE(buffer.ok()) << buffer.status();
  }

  const TempDir directory_;
  const std::string runtime_dir_ = directory_.path() + "/run";
  const FakeServiceManager manager_;
  std::vector<UniqueFd> sockets_;
  absl::Duration watchdog_period_;
};

// --- Sockets that are passed ---

TEST_F(ServiceManagerTest, AClientThatConnectsBeforeTheDaemonStartsIsServed) {
  MakeSockets();
  auto client = ConnectMeanwhile();
  WaitForConnection(sockets_[0]);

  StartDaemon();

  ExpectServed(client.get());
  EXPECT_THAT(daemon_->log(), HasSubstr("sockets=passed"));
}

TEST_F(ServiceManagerTest, PassedSocketsOutliveTheDaemonAndServeTheNext) {
  MakeSockets();
  StartDaemon();
  ASSERT_EQ(daemon_->Stop()->code, 0);
  EXPECT_TRUE(std::filesystem::exists(grpc_path()));
  EXPECT_TRUE(std::filesystem::exists(fd_path()));
  EXPECT_FALSE(std::filesystem::exists(runtime_dir_ + "/" + kLockFileName)) << "this one is the daemon's own";
  auto client = ConnectMeanwhile();
  WaitForConnection(sockets_[0]);

  StartDaemon();

  ExpectServed(client.get());
}

TEST_F(ServiceManagerTest, ARestartWithPassedSocketsKeepsSessions) {
  MakeSockets();
  StartDaemon();
  const auto client = Client::Connect({.runtime_dir = runtime_dir_});
  ASSERT_TRUE(client.ok()) << client.status();
  for (const int signal : {SIGUSR2, SIGKILL}) {
    daemon_->Signal(signal);
    ASSERT_TRUE(daemon_->Wait().ok());
    StartDaemon();
    EXPECT_THAT(daemon_->log(), HasSubstr("state_restored sessions=1"));
    EXPECT_TRUE(Eventually([&] { return (*client)->status().ok(); })) << (*client)->status();
  }
  ExpectServed(Client::Connect({.runtime_dir = runtime_dir_}));
}

TEST_F(ServiceManagerTest, OneSocketWithoutTheOtherIsRefusedAndBothStay) {
  MakeSockets();
  sockets_.pop_back();

  const auto daemon = DaemonProcess::Spawn(Options());

  ASSERT_TRUE(daemon.ok()) << daemon.status();
  EXPECT_EQ((*daemon)->Wait()->code, 1);
  EXPECT_THAT((*daemon)->log(), HasSubstr("socket a8a.sock was passed without fd.sock"));
  EXPECT_TRUE(std::filesystem::exists(grpc_path()));
  EXPECT_FALSE(manager_.Heard("READY=1"));
}

TEST_F(ServiceManagerTest, ADaemonThatIsStartedByHandLeavesTheManagersSocketsAlone) {
  MakeSockets();
  DaemonProcess::Options options = Options();
  options.descriptors.clear();

  const auto daemon = DaemonProcess::Spawn(options);

  ASSERT_TRUE(daemon.ok()) << daemon.status();
  EXPECT_EQ((*daemon)->Wait()->code, 1);
  EXPECT_THAT((*daemon)->log(), HasSubstr("fd.sock is listened on by somebody else"));
  StartDaemon();
  ExpectServed(Client::Connect({.runtime_dir = runtime_dir_}));
}

// --- The watchdog ---

class WatchdogTest : public ServiceManagerTest {
 protected:
  WatchdogTest() { watchdog_period_ = absl::Seconds(2); }

  int FedCount() const { return manager_.Count("WATCHDOG=1"); }
  ::testing::AssertionResult IsFedAgain(int times) const {
    const int before = FedCount();
    if (Eventually([&] { return FedCount() >= before + times; })) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "fed " << FedCount() - before << " times; " << daemon_->log();
  }
};

TEST_F(WatchdogTest, IsFedWhileTheDaemonServesAndDrains) {
  flags_ = {"--drain-timeout=60s"};
  StartDaemon();
  client_ = std::make_unique<DaemonClient>(daemon_->grpc_address());
  EXPECT_TRUE(IsFedAgain(3));
  const std::unique_ptr<Session> session = client_->Attach();
  const std::uint64_t group_id = MustFormGroup("g", {session.get()}).group().group_id();

  daemon_->Signal(SIGTERM);

  EXPECT_TRUE(Eventually([&] { return manager_.Heard("STOPPING=1"); }));
  EXPECT_TRUE(manager_.Heard("STATUS=Waits for 1 groups to end"));
  EXPECT_TRUE(IsFedAgain(3));
  ASSERT_THAT(Leave(*session, group_id), IsOk());
  EXPECT_EQ(daemon_->Wait()->code, 0);
}

TEST_F(WatchdogTest, IsNotFedWithoutAManagerThatLooks) {
  watchdog_period_ = absl::ZeroDuration();
  StartDaemon();
  ASSERT_TRUE(Eventually([&] { return manager_.Heard("READY=1"); }));
  ASSERT_EQ(daemon_->Stop()->code, 0);

  EXPECT_EQ(FedCount(), 0);
}

// Those of the daemon's uid, who came first, have used its connections up.
TEST_F(WatchdogTest, IsFedThoughTheDaemonsUidHasNoConnectionLeft) {
  flags_ = {"--connection-max-per-uid=1"};
  MakeSockets();
  const DaemonClient holder(absl::StrCat("unix:", grpc_path()));
  holder.channel->GetState(/*try_to_connect=*/true);
  WaitForConnection(sockets_[0]);
  StartDaemon();
  EXPECT_TRUE(daemon_->WaitForLog("connection_refused")) << "the test's own attempts are refused";

  EXPECT_TRUE(IsFedAgain(3));
  EXPECT_EQ(holder.Health(""), grpc::health::v1::HealthCheckResponse::SERVING);
}

// The state's file is a pipe that nobody reads: whoever saves it stands still, and with it what ends sessions.
TEST_F(WatchdogTest, IsNotFedWhileTheEndsOfProcessesAreNotHeard) {
  StartDaemon();
  const std::string pipe_path = runtime_dir_ + "/state.new";
  client_ = std::make_unique<DaemonClient>(daemon_->grpc_address());
  const std::unique_ptr<Session> session = client_->Attach();
  const v1::Buffer buffer = MustRegisterBuffer(session->id(), 4096).buffer();
  PeerProcess peer(daemon_->grpc_address());
  ASSERT_THAT(peer.Command("attach"), HasSubstr("OK"));
  ASSERT_TRUE(IsFedAgain(1));
  ASSERT_EQ(::mkfifo(pipe_path.c_str(), 0600), 0);

  auto release = std::async(std::launch::async, [&] {
    v1::ReleaseBufferRequest request;
    request.set_session_id(session->id());
    request.set_buffer_id(buffer.buffer_id());
    request.set_generation(buffer.generation());
    v1::ReleaseBufferResponse response;
    return Call(client_->buffer.get(), &v1::BufferService::Stub::ReleaseBuffer, request, &response);
  });
  peer.Kill(SIGKILL);

  EXPECT_TRUE(daemon_->WaitForLog("self_probe_failed reason=\"the executor of ends does not answer\""))
      << daemon_->log();
  const int fed = FedCount();
  EXPECT_EQ(client_->Health("part/descriptors"), grpc::health::v1::HealthCheckResponse::SERVING) << "all else goes on";
  EXPECT_EQ(FedCount(), fed);
  const UniqueFd reader(::open(pipe_path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  EXPECT_TRUE(daemon_->WaitForLog("self_probe_works")) << daemon_->log();
  EXPECT_TRUE(IsFedAgain(1));
  EXPECT_THAT(release.get(), IsOk());
}

#ifdef A8A_FAILPOINTS
TEST_F(WatchdogTest, IsNotFedWhileTheSocketsAreNotServed) {
  FailpointBoard board;
  StartDaemon();
  ASSERT_TRUE(IsFedAgain(1));

  board.Order({{"epoll_thread.wait", EINTR, 0, INT_MAX}});

  EXPECT_TRUE(daemon_->WaitForLog("self_probe_failed")) << daemon_->log();
  EXPECT_THAT(daemon_->log(), HasSubstr("fd.sock does not answer"));
  board.Withdraw();
  EXPECT_TRUE(daemon_->WaitForLog("self_probe_works")) << daemon_->log();
  EXPECT_TRUE(IsFedAgain(1));
}
#endif

// --- Reloads ---

class ReloadTest : public ServiceManagerTest {
 protected:
  ReloadTest() {
    Write("log_level = \"info\"\n");
    flags_ = {"--config=" + path_};
  }
  void Write(const std::string& text) const { std::ofstream(path_) << text; }
  // What the manager hears from a SIGHUP to the READY=1 after it. Call once.
  std::vector<std::string> Reload() {
    EXPECT_TRUE(Eventually([&] { return manager_.Heard("READY=1"); }));
    const std::size_t before = manager_.lines().size();
    daemon_->Signal(SIGHUP);
    EXPECT_TRUE(Eventually([&] { return manager_.Count("READY=1") == 2; }));
    const std::vector<std::string> lines = manager_.lines();
    return {lines.begin() + static_cast<std::ptrdiff_t>(before), lines.end()};
  }

  const std::string path_ = directory_.path() + "/a8a.toml";
};

std::int64_t MonotonicMicros() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::ToInt64Microseconds(absl::DurationFromTimespec(now));
}

TEST_F(ReloadTest, SaysWhenItBeganAndWhatWaitsForARestart) {
  StartDaemon();
  Write("log_level = \"debug\"\nsession_max = 6\n");
  const std::int64_t before_us = MonotonicMicros();

  const std::vector<std::string> lines = Reload();

  ASSERT_EQ(lines.size(), 4U) << ::testing::PrintToString(lines);
  EXPECT_EQ(lines[0], "RELOADING=1");
  absl::string_view time = lines[1];
  std::int64_t time_us = 0;
  ASSERT_TRUE(absl::ConsumePrefix(&time, "MONOTONIC_USEC=") && absl::SimpleAtoi(time, &time_us)) << lines[1];
  EXPECT_GE(time_us, before_us);
  EXPECT_LE(time_us, MonotonicMicros());
  EXPECT_EQ(lines[2], "READY=1");
  EXPECT_EQ(lines[3], "STATUS=Settings read again, changed: log_level; waits for a restart: session_max");
}

TEST_F(ReloadTest, SaysThatAFileWasRefused) {
  StartDaemon();
  Write("nonsense = 1\n");

  const std::vector<std::string> lines = Reload();

  ASSERT_EQ(lines.size(), 4U) << ::testing::PrintToString(lines);
  EXPECT_EQ(lines[2], "READY=1");
  EXPECT_THAT(lines[3], HasSubstr("STATUS=Settings refused, none changed: "));
  EXPECT_THAT(lines[3], HasSubstr("a8a.toml:1: nonsense: unknown key"));
}

}  // namespace
}  // namespace a8a::testing
