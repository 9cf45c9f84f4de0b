// Every system call and driver call of the daemon that can fail does so here, one after the other: what a caller, the
// log or the exit status says, that the daemon goes on, and that nothing is left behind.
//
// A new failpoint (daemon/failpoint.h) goes into one of the tables; EveryFailpointIsWalked fails until it is there.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/fakes/fake_libcuda/fake_libcuda.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/failpoint_board.h"
#include "tests/integration/daemon/whole_life.h"
#include "tests/support/listening_socket.h"

namespace a8a::testing {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

// Until it is withdrawn.
constexpr int kAlways = INT_MAX;
constexpr int kExitOk = 0;
constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

// A port that nobody listened on a moment ago.
int FreePort() {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size_bytes = sizeof(address);
  A8A_CHECK(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size_bytes) == 0, "no free port");
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size_bytes);
  return ntohs(address.sin_port);
}

std::string MetricsPortFlag() {
  static const int port = FreePort();
  return absl::StrCat("--metrics-port=", port);
}

// --- Starts ---

enum class LeftBehind { kNothing, kLockFile };

// The daemon cannot start. Every call that it makes at its start is tried, as long as there is one.
struct StartCase {
  std::vector<Fault> faults;
  int exit_status;
  const char* log;
  std::vector<std::string> flags = {};
  LeftBehind left_behind = LeftBehind::kNothing;
};

const std::vector<StartCase>& StartCases() {
  static const auto* const cases = new std::vector<StartCase>{
      {{{"command_line.access", EACCES}}, kExitUsage, "cannot open config file /etc/a8a/a8a.toml"},
      {{{"config_file.open", EACCES}}, kExitUsage, "cannot open config file", {"--config=/dev/null"}},
      {{{"config_file.read", EIO}}, kExitUsage, "cannot read config file", {"--config=/dev/null"}},
      {{{"log.start_thread", EAGAIN}}, kExitFailure, "cannot start the log's thread"},
      {{{"thread.start", EAGAIN}}, kExitFailure, "cannot start thread a8a-"},
      {{{"runtime_dir.mkdir", EACCES}}, kExitFailure, "cannot make runtime directory"},
      {{{"runtime_dir.stat", EACCES}}, kExitFailure, "runtime directory"},
      {{{"runtime_dir.open_lock", ENFILE}}, kExitFailure, "cannot open lock file"},
      {{{"runtime_dir.flock", ENOLCK}}, kExitFailure, "cannot lock", {}, LeftBehind::kLockFile},
      {{{"runtime_dir.flock", EWOULDBLOCK}, {"runtime_dir.pread", EIO}},
       kExitFailure,
       "another a8a-daemon (pid unknown) serves",
       {},
       LeftBehind::kLockFile},
      {{{"runtime_dir.fstat_lock", EIO, 0, kAlways}},
       kExitFailure,
       "was replaced 100 times",
       {},
       LeftBehind::kLockFile},
      {{{"runtime_dir.stat_lock", EIO, 0, kAlways}}, kExitFailure, "was replaced 100 times", {}, LeftBehind::kLockFile},
      {{{"runtime_dir.ftruncate", EIO}}, kExitFailure, "cannot write"},
      {{{"runtime_dir.pwrite", ENOSPC}}, kExitFailure, "cannot write"},
      {{{"runtime_dir.pwrite", ENOSPC}, {"runtime_dir.unlink_lock", EROFS}},
       kExitFailure,
       "cannot write",
       {},
       LeftBehind::kLockFile},
      {{{"runtime_dir.socket", EMFILE}}, kExitFailure, "cannot make a socket"},
      {{{"runtime_dir.lstat", EIO}}, kExitFailure, "cannot look at"},
      {{{"runtime_dir.unlink_socket", EROFS}}, kExitFailure, "cannot replace"},
      {{{"runtime_dir.bind", EADDRINUSE}}, kExitFailure, "cannot bind"},
      {{{"runtime_dir.getgrnam", EIO}}, kExitFailure, "is no group of this machine", {"--socket-group=root"}},
      {{{"runtime_dir.lchown", EPERM}}, kExitFailure, "to group 0", {"--socket-group=0"}},
      {{{"runtime_dir.chmod", EPERM}}, kExitFailure, "cannot chmod"},
      {{{"runtime_dir.listen", EADDRINUSE}}, kExitFailure, "cannot listen"},
      {{{"http_server.socket", EMFILE}}, kExitFailure, "cannot make a socket for 127.0.0.1", {MetricsPortFlag()}},
      {{{"http_server.bind", EADDRINUSE}}, kExitFailure, "cannot bind 127.0.0.1", {MetricsPortFlag()}},
      {{{"http_server.listen", EADDRINUSE}}, kExitFailure, "cannot listen on 127.0.0.1", {MetricsPortFlag()}},
      {{{"epoll_thread.create", EMFILE}}, kExitFailure, "cannot make an epoll set"},
      {{{"epoll_thread.eventfd", EMFILE}}, kExitFailure, "cannot make an eventfd"},
      {{{"epoll_thread.add", ENOSPC}}, kExitFailure, "cannot watch descriptor"},
      {{{"host_memory.access", EACCES}}, kExitFailure, "NUMA node 0 does not exist", {"--host-numa-node=0"}},
      {{{"host_memory.mbind", EPERM, 0, kAlways}}, kExitFailure, "CAP_SYS_NICE", {"--host-numa-node=0"}},
      {{{"host_memory.mbind", EINVAL, 0, kAlways}}, kExitFailure, "has no memory", {"--host-numa-node=0"}},
      {{{"host_memory.mbind", ENOMEM, 0, kAlways}}, kExitFailure, "binding host memory", {"--host-numa-node=0"}},
      {{{"shared_memory.memfd_create", EMFILE, 0, kAlways}}, kExitFailure, "memfd_create", {"--host-numa-node=0"}},
      {{{"mapping.map", ENOMEM, 0, kAlways}}, kExitFailure, "mapping", {"--host-numa-node=0"}},
  };
  return *cases;
}

// The daemon starts all the same, and serves.
const std::vector<Fault>& HarmlessAtStart() {
  static const auto* const faults = new std::vector<Fault>{
      {"server.getrlimit", EPERM},
      {"server.setrlimit", EPERM},
      {"server.getrlimit_per_uid", EPERM},
      {"signals.sigwaitinfo", EINTR, 0, 3},
      {"acceptor.open_reserve", EMFILE, 0, 2},
      {"runtime_dir.fstat_lock", EIO},
      {"accept_loop.getrlimit", EPERM, 0, kAlways},
      {"http_server.setsockopt", EPERM},
      {"service_manager.listen_fds", EIO},
      {"service_manager.notify", ENOENT},
      {"service_manager.notify_with_fds", ENOENT},
      {"service_manager.watchdog_enabled", EIO},
  };
  return *faults;
}

// The daemon cannot start with the sockets that it is given, and leaves them.
struct PassedCase {
  Fault fault;
  const char* log;
};

const std::vector<PassedCase>& PassedCases() {
  static const auto* const cases = new std::vector<PassedCase>{
      {{"service_manager.is_socket", EBADF}, "socket fd.sock was passed without a8a.sock"},
      {{"service_manager.is_socket", EBADF, 1}, "socket a8a.sock was passed without fd.sock"},
      {{"passed_sockets.getsockname", ENOBUFS}, "passed socket 3"},
      {{"passed_sockets.stat", EACCES}, "is neither"},
      {{"passed_sockets.stat", EACCES, 2}, "a8a.sock"},
      {{"passed_sockets.getsockopt", ENOBUFS}, "passed socket 3"},
      {{"passed_sockets.getsockopt", ENOBUFS, 1}, "passed socket 3"},
      {{"passed_sockets.get_flags", EBADF}, "passed socket 3"},
      {{"passed_sockets.set_flags", EPERM}, "passed socket 3"},
  };
  return *cases;
}

// A look of the daemon at itself, for the watchdog, fails with `log`, or goes on: "".
struct SelfProbeCase {
  Fault fault;
  const char* log;
};

const std::vector<SelfProbeCase>& SelfProbeCases() {
  static const auto* const cases = new std::vector<SelfProbeCase>{
      {{"self_probe.socket", EMFILE, 0, 2}, ""},
      {{"self_probe.setsockopt", EDOM}, ""},
      {{"self_probe.connect", ECONNREFUSED}, "self_probe_failed reason=\"cannot connect to"},
      {{"self_probe.connect", EAGAIN}, "fd.sock does not answer"},
      {{"self_probe.shutdown", ENOTCONN, 1}, "a8a.sock does not answer"},
      {{"self_probe.poll", EINTR}, ""},
      {{"self_probe.recv", EINTR}, ""},
      {{"self_probe.recv", ECONNRESET}, ""},
  };
  return *cases;
}

// The daemon stops all the same, whatever fails together, and the next one starts.
const std::vector<std::vector<Fault>>& HarmlessAtStop() {
  static const auto* const faults = new std::vector<std::vector<Fault>>{
      {{"runtime_dir.unlink", EROFS, 0, kAlways}, {"runtime_dir.rmdir", EBUSY}, {"signals.sigtimedwait", EINTR, 0, 3}},
      {{"thread.start", EAGAIN}, {"state_file.unlink", EROFS}, {"state_file.unlink_leftover", EROFS}},
  };
  return *faults;
}

// A daemon starts after another was killed, and serves; what becomes of the other's session is in the log.
struct RestartCase {
  std::vector<Fault> faults;
  const char* log;
};

const std::vector<RestartCase>& RestartCases() {
  static const auto* const cases = new std::vector<RestartCase>{
      {{{"state_file.open", EACCES}}, "state_refused"},
      {{{"state_file.open", EACCES}, {"state_file.quarantine", EROFS}}, "state_refused"},
      {{{"state_file.fstat", EIO}}, "cannot look at"},
      {{{"state_file.read", EIO}}, "cannot read"},
      {{{"runtime_dir.socket_to_try", EMFILE}}, "state_restored"},
      {{{"runtime_dir.connect", EACCES}}, "state_restored"},
      {{{"process.pidfd_open", ESRCH}}, "session_process_ended"},
      {{{"process.pidfd_open", EMFILE}}, "session_handed_back"},
      {{{"shared_memory.get_seals", EIO}}, "hand_back_refused"},
      {{{"shared_memory.fstat_to_check", EIO}}, "hand_back_refused"},
  };
  return *cases;
}

// --- A daemon that serves ---

// A step of a client's life (whole_life.h) fails, or none: step "".
struct LifeCase {
  std::vector<Fault> faults;
  const char* step = "";
  StatusCode code = StatusCode::OK;
  const char* message = "";
};

const std::vector<LifeCase>& LifeCases() {
  static const auto* const cases = new std::vector<LifeCase>{
      // A connection to a8a.sock.
      {{{"acceptor.accept", ECONNABORTED}}},
      {{{"acceptor.accept", EMFILE}}, "connect", StatusCode::UNAVAILABLE},
      {{{"acceptor.accept", EMFILE}, {"acceptor.accept_to_drop", EMFILE}}},
      {{{"acceptor.peercred", EIO}}, "connect", StatusCode::UNAVAILABLE},
      {{{"acceptor.peergroups", EIO}}, "connect", StatusCode::UNAVAILABLE},
      {{{"acceptor.peergroups", ERANGE}}},
      {{{"acceptor.peergroups", ERANGE}, {"acceptor.peergroups_again", EIO}}, "connect", StatusCode::UNAVAILABLE},
      {{{"acceptor.peerpidfd", ENODATA}}, "connect", StatusCode::UNAVAILABLE},
      {{{"acceptor.peerpidfd", EMFILE}}, "connect", StatusCode::UNAVAILABLE},
      {{{"acceptor.peerpidfd", EPERM}}, "attach", StatusCode::FAILED_PRECONDITION, "gives no handle of process"},
      {{{"acceptor.peerpidfd", ENOPROTOOPT}}},
      {{{"acceptor.peerpidfd", ENOPROTOOPT}, {"acceptor.pidfd_open", ESRCH}}, "connect", StatusCode::UNAVAILABLE},
      {{{"acceptor.peerpidfd", ENOPROTOOPT}, {"acceptor.poll", ENOMEM}}, "connect", StatusCode::UNAVAILABLE},
      {{{"accept_loop.dup", EMFILE}}},
      {{{"accept_loop.dup", EMFILE}, {"accept_loop.dup_from_first", EMFILE}}, "connect", StatusCode::UNAVAILABLE},
      {{{"connection_registry.fstat", EIO}}, "connect", StatusCode::UNAVAILABLE},
      {{{"connection_registry.fstat_again", EIO}}},
      {{{"stats_reader.open", EMFILE}}},
      // A session.
      {{{"process.open", EACCES}}},
      {{{"process.read", EIO}}},
      {{{"attach_stream.dup", EMFILE}}, "attach", StatusCode::RESOURCE_EXHAUSTED, "no descriptor left to watch"},
      {{{"epoll_thread.add", ENOSPC}}, "attach", StatusCode::RESOURCE_EXHAUSTED, "cannot watch another process"},
      {{{"epoll_thread.remove", ENOENT}}},
      {{{"epoll_thread.wait", EINTR}}},
      // A buffer.
      {{{"shared_memory.memfd_create", EMFILE}}, "register", StatusCode::RESOURCE_EXHAUSTED, "memfd_create of"},
      {{{"shared_memory.memfd_create", EINVAL}}},
      {{{"shared_memory.memfd_create", EINVAL}, {"shared_memory.memfd_create_before_6_3", ENFILE}},
       "register",
       StatusCode::RESOURCE_EXHAUSTED,
       "memfd_create of"},
      {{{"shared_memory.ftruncate", ENOSPC}}, "register", StatusCode::RESOURCE_EXHAUSTED, "sizing shared memory"},
      {{{"shared_memory.ftruncate", EINVAL}}, "register", StatusCode::INTERNAL, "sizing shared memory"},
      {{{"shared_memory.add_seals", EPERM}}, "register", StatusCode::INTERNAL, "sealing shared memory"},
      {{{"ticket_table.getrandom", EINTR}}},
      {{{"shared_memory.fstat", EIO}}},
      // The state that the next daemon would take up.
      {{{"state_file.create", ENOSPC}}},
      {{{"state_file.write", ENOSPC}, {"state_file.unlink_new", EROFS}}},
      {{{"state_file.rename", EROFS}}},
      // fd.sock. A connection takes two calls of accept: the second finds that no other waits.
      {{{"acceptor.accept", ENFILE, 2}}, "redeem", StatusCode::UNAVAILABLE},
      {{{"acceptor.peercred", EIO, 1}}, "redeem", StatusCode::UNAVAILABLE},
      {{{"epoll_thread.add", ENOSPC, 1}}, "redeem", StatusCode::UNAVAILABLE},
      {{{"core_buffers.dup", EMFILE}}, "redeem", StatusCode::RESOURCE_EXHAUSTED, "duplicating the buffer's descriptor"},
      {{{"core_buffers.dup", EMFILE, 1}}, "redeem window", StatusCode::RESOURCE_EXHAUSTED, "duplicating"},
      {{{"fd_server.peek", EINTR}}},
      {{{"fd_server.recvmsg", EINTR}}},
      {{{"fd_server.recvmsg", ECONNRESET}}, "redeem", StatusCode::UNAVAILABLE},
      {{{"fd_server.sendmsg", EAGAIN}}, "redeem", StatusCode::UNAVAILABLE},
      {{{"fd_server.sendmsg", ENOBUFS, 2}}, "malformed", StatusCode::UNAVAILABLE},
      {{{"fd_server.shutdown", ENOTCONN}}},
      {{{"fd_server.recv", ECONNRESET}}},
      // A group: its rank's flags, its control segment; then a window.
      {{{"shared_memory.memfd_create", ENFILE, 1}}, "join", StatusCode::RESOURCE_EXHAUSTED, "memfd_create of"},
      {{{"shared_memory.memfd_create", ENFILE, 2}}, "join", StatusCode::RESOURCE_EXHAUSTED, "memfd_create of"},
      {{{"control_segment.map", ENOMEM}}, "join", StatusCode::RESOURCE_EXHAUSTED, "control segment of group"},
      {{{"shared_memory.memfd_create", ENFILE, 3}}, "window", StatusCode::RESOURCE_EXHAUSTED, "memfd_create of"},
      // The config file.
      {{{"config_file.open", EACCES}}, "reload", StatusCode::FAILED_PRECONDITION, "cannot open config file"},
      {{{"config_file.read", EIO}}, "reload", StatusCode::FAILED_PRECONDITION, "cannot read config file"},
  };
  return *cases;
}

// With huge pages, whose allocation takes more calls.
const std::vector<LifeCase>& HugePagesCases() {
  static const auto* const cases = new std::vector<LifeCase>{
      {{{"mapping.reserve", ENOMEM}}, "register", StatusCode::RESOURCE_EXHAUSTED, "mapping 2097152 bytes"},
      {{{"mapping.map", ENOMEM}}, "register", StatusCode::RESOURCE_EXHAUSTED, "mapping 2097152 bytes"},
      {{{"host_memory.populate", EFAULT}}, "register", StatusCode::RESOURCE_EXHAUSTED, "allocating the pages"},
      {{{"host_memory.populate", EINVAL}}, "register", StatusCode::INTERNAL, "allocating the pages"},
      {{{"host_memory.collapse", EINVAL}}},
  };
  return *cases;
}

const std::vector<LifeCase>& NumaCases() {
  static const auto* const cases = new std::vector<LifeCase>{
      {{{"host_memory.mbind", ENOMEM}}, "register", StatusCode::RESOURCE_EXHAUSTED, "binding host memory"},
      {{{"host_memory.mbind", EPERM}}, "register", StatusCode::INTERNAL, "binding host memory"},
  };
  return *cases;
}

// The device turns unhealthy, with the reason in the log, and healthy again.
struct ProbeCase {
  std::string failpoint;
  int error;
  const char* log;
};

const std::vector<ProbeCase>& ProbeCases() {
  static const auto* const cases = new std::vector<ProbeCase>{
      {"shared_memory.memfd_create", EMFILE, "memfd_create of"},
      {"mapping.map", ENOMEM, "mapping"},
      {"host_memory.dup", EMFILE, "duplicating a descriptor"},
  };
  return *cases;
}

// --- GPU memory ---

const std::vector<LifeCase>& CudaCases() {
  static const auto* const cases = new std::vector<LifeCase>{
      {{{"cuda_memory.set_cloexec", EBADF}}, "register", StatusCode::INTERNAL, "the driver's descriptor"},
      {{{"core_buffers.dup", EMFILE}}, "redeem", StatusCode::RESOURCE_EXHAUSTED, "duplicating"},
  };
  return *cases;
}

const std::vector<ProbeCase>& CudaProbeCases() {
  static const auto* const cases = new std::vector<ProbeCase>{
      {"cuda_memory.dup", EMFILE, "no file descriptor left"},
  };
  return *cases;
}

constexpr int kOutOfMemory = 2;
constexpr int kUnavailable = 46;
constexpr int kOperatingSystem = 304;
constexpr int kUnknown = 999;

// A driver call fails with `result`; the fake driver does that itself, by the name of the call. At the start: exit
// status 1 with `message` in the log.
struct DriverCase {
  std::string call;
  int result;
  const char* step;
  StatusCode code;
  const char* message;
};

const std::vector<DriverCase>& DriverCases() {
  static const auto* const cases = new std::vector<DriverCase>{
      {"cuDriverGetVersion", kUnknown, "start", {}, "for its version"},
      {"cuInit", kUnknown, "start", {}, "initializing"},
      {"cuDeviceGetCount", kUnknown, "start", {}, "counting CUDA devices"},
      {"cuDeviceGetUuid_v2", kUnknown, "start", {}, "asking CUDA device 0 what it is"},
      {"cuDeviceGetUuid", kUnknown, "start", {}, "asking CUDA device 0 what it is"},
      {"cuDeviceGetName", kUnknown, "start", {}, "asking CUDA device 0 what it is"},
      {"cuDeviceGetAttribute", kUnknown, "start", {}, "asking CUDA device 0 what it is"},
      {"cuDeviceTotalMem_v2", kUnknown, "start", {}, "asking CUDA device 0 what it is"},
      {"cuMemGetAllocationGranularity", kUnknown, "start", {}, "asking for the granularity"},
      {"cuMemCreate", kOutOfMemory, "register", StatusCode::RESOURCE_EXHAUSTED, "out of GPU memory"},
      {"cuMemCreate", kUnavailable, "register", StatusCode::UNAVAILABLE, "allocating"},
      {"cuMemExportToShareableHandle", kOperatingSystem, "register", StatusCode::INTERNAL, "sharing"},
      // Nothing can be done about it, and the descriptor is what counts.
      {"cuMemRelease", kUnknown, "", StatusCode::OK, ""},
      {"cuMemImportFromShareableHandle", kUnknown, "probe", {}, "importing its own memory"},
      {"cuMemGetAllocationPropertiesFromHandle", kUnknown, "probe", {}, "asking what was imported"},
  };
  return *cases;
}

DaemonProcess::Options MakeOptions(std::vector<std::string> flags, std::string runtime_dir) {
  DaemonProcess::Options options;
  options.flags = std::move(flags);
  options.runtime_dir = std::move(runtime_dir);
  return options;
}

class FailpointTest : public DaemonTest {
 protected:
  // Daemons are started by the tests.
  void SetUp() override {}
  void TearDown() override {
    client_.reset();
    daemon_.reset();
  }

  std::string ConfigFlag() {
    const std::string path = directory_.path() + "/a8a.toml";
    std::ofstream(path) << "\n";
    return absl::StrCat("--config=", path);
  }

  // Starts a daemon that is about to make a call fail or to serve. Returns whether one has failed.
  bool SpawnsAndFails(const std::vector<Fault>& faults, const DaemonProcess::Options& options) {
    board_.Order(faults);
    absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = DaemonProcess::Spawn(options);
    EXPECT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    EXPECT_TRUE(Eventually([&] { return board_.AllFired() || absl::StrContains(daemon_->log(), " serving "); }));
    return board_.AllFired();
  }
  void ExpectStartFails(const StartCase& expected, const std::string& runtime_dir) {
    const absl::StatusOr<ExitState> state = daemon_->Wait();
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_EQ(state->code, expected.exit_status) << "signal " << state->signal << "; " << daemon_->log();
    EXPECT_THAT(daemon_->log(), HasSubstr(expected.log));
    EXPECT_EQ(std::filesystem::exists(runtime_dir), expected.left_behind == LeftBehind::kLockFile);
    std::filesystem::remove_all(runtime_dir);
  }

  // What a daemon holds that has no client but this test's.
  std::map<std::string, long> IdleFootprint() {
    constexpr long kIdleSockets = 4;  // three that listen, and client_'s connection
    std::map<std::string, long> footprint;
    EXPECT_TRUE(Eventually([&] {
      footprint = Footprint(*daemon_, *client_);
      return footprint["sockets"] == kIdleSockets && footprint["memfds"] == 0;
    })) << ::testing::PrintToString(footprint);
    return footprint;
  }
  // What ends takes a moment to be gone.
  void ExpectNothingLeaked(const std::map<std::string, long>& before) {
    std::map<std::string, long> after;
    EXPECT_TRUE(Eventually([&] {
      after = Footprint(*daemon_, *client_);
      return after == before;
    })) << ::testing::PrintToString(after)
        << ", before: " << ::testing::PrintToString(before);
  }

  void WalkLives(const std::vector<LifeCase>& cases, const std::string& device) {
    ExpectWholeLife(device);
    ExpectWholeLife(device);
    const std::map<std::string, long> before = IdleFootprint();
    for (const LifeCase& expected : cases) {
      SCOPED_TRACE(absl::StrCat(expected.faults.back().failpoint, " = ", expected.faults.back().error, " after ",
                                expected.faults.back().skip));
      board_.Order(expected.faults);
      ExpectOutcome(expected, LiveWholeLife(*daemon_, device));
      EXPECT_TRUE(Eventually([&] { return board_.AllFired(); }));
      board_.Withdraw();
      ExpectWholeLife(device);
      ExpectNothingLeaked(before);
      if (HasFailure()) return;
    }
  }
  static void ExpectOutcome(const LifeCase& expected, const Outcome& outcome) {
    EXPECT_EQ(outcome.step, expected.step);
    EXPECT_THAT(outcome.status, HasCodeAndText(expected.code, expected.message));
  }
  void ExpectWholeLife(const std::string& device) { ExpectOutcome(LifeCase(), LiveWholeLife(*daemon_, device)); }

  bool Serving(const std::string& name) const {
    return client_->Health(name) == grpc::health::v1::HealthCheckResponse::SERVING;
  }
  bool Healthy(const std::string& device) const { return Serving(absl::StrCat("device/", device)); }
  // `fail` makes probes fail, `mend` ends that.
  void ExpectUnhealthyMeanwhile(const std::string& device, const char* log, const std::function<void()>& fail,
                                const std::function<void()>& mend) {
    EXPECT_TRUE(Eventually([&] { return Healthy(device); }));
    fail();
    EXPECT_TRUE(Eventually([&] { return !Healthy(device); }));
    EXPECT_TRUE(daemon_->WaitForLog(log)) << daemon_->log();
    mend();
    EXPECT_TRUE(Eventually([&] { return Healthy(device); }));
  }
  void WalkProbes(const std::vector<ProbeCase>& cases, const std::string& device) {
    const std::map<std::string, long> before = IdleFootprint();
    for (const ProbeCase& expected : cases) {
      SCOPED_TRACE(expected.failpoint);
      ExpectUnhealthyMeanwhile(
          device, expected.log,
          [&] {
            board_.Order({{expected.failpoint, expected.error, 0, kAlways}});
          },
          [&] { board_.Withdraw(); });
    }
    ExpectNothingLeaked(before);
  }

  TempDir directory_;
  FailpointBoard board_;
};

TEST_F(FailpointTest, AStartThatFailsSaysWhyAndLeavesNothingBehind) {
  const std::string runtime_dir = directory_.path() + "/run";
  for (const StartCase& expected : StartCases()) {
    std::vector<Fault> faults = expected.faults;
    SCOPED_TRACE(faults.back().failpoint);
    while (SpawnsAndFails(faults, MakeOptions(expected.flags, runtime_dir))) {
      ExpectStartFails(expected, runtime_dir);
      if (HasFailure()) return;
      ++faults.front().skip;
      if (faults.size() > 1 || faults.front().count == kAlways) break;
    }
    EXPECT_GT(faults.front().skip, 0) << "no call failed";
    daemon_->Kill();
    std::filesystem::remove_all(runtime_dir);
  }
}

TEST_F(FailpointTest, AStartGoesOnWithoutWhatItCanDoWithout) {
  // A service manager that has gone.
  ::setenv("NOTIFY_SOCKET", "/nonexistent/notify", /*overwrite=*/1);
  for (const Fault& fault : HarmlessAtStart()) {
    SCOPED_TRACE(fault.failpoint);
    board_.Order({fault});
    StartDaemon({ConfigFlag(), MetricsPortFlag()});

    ExpectWholeLife("host");
    EXPECT_TRUE(board_.AllFired());

    daemon_.reset();
  }
  ::unsetenv("NOTIFY_SOCKET");
}

TEST_F(FailpointTest, AStartWithPassedSocketsThatFailsSaysWhyAndLeavesThem) {
  DaemonProcess::Options options = MakeOptions({}, directory_.path());
  const UniqueFd grpc = ListeningSocket(directory_.path() + "/a8a.sock", SOCK_STREAM);
  const UniqueFd fd = ListeningSocket(directory_.path() + "/fd.sock", SOCK_SEQPACKET);
  options.descriptors = {{"a8a.socket", grpc.get()}, {"a8a.socket", fd.get()}};
  for (const PassedCase& expected : PassedCases()) {
    SCOPED_TRACE(absl::StrCat(expected.fault.failpoint, " after ", expected.fault.skip));
    board_.Order({expected.fault});

    const absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = DaemonProcess::Spawn(options);

    ASSERT_TRUE(daemon.ok()) << daemon.status();
    const absl::StatusOr<ExitState> state = (*daemon)->Wait();
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_EQ(state->code, kExitFailure);
    EXPECT_THAT((*daemon)->log(), HasSubstr(expected.log));
    EXPECT_TRUE(board_.AllFired());
    EXPECT_TRUE(std::filesystem::exists(directory_.path() + "/a8a.sock"));
    EXPECT_TRUE(std::filesystem::exists(directory_.path() + "/fd.sock"));
  }
}

TEST_F(FailpointTest, ASelfProbeThatFailsIsLoggedAndTheNextOneWorks) {
  ::setenv("WATCHDOG_USEC", "2000000", /*overwrite=*/1);
  // Health makes these calls too, and would take the failures.
  StartDaemon({ConfigFlag(), "--health-interval=1h"});
  ::unsetenv("WATCHDOG_USEC");
  for (const SelfProbeCase& expected : SelfProbeCases()) {
    SCOPED_TRACE(expected.fault.failpoint);
    board_.Order({expected.fault});

    EXPECT_TRUE(Eventually([&] { return board_.AllFired(); }));

    EXPECT_TRUE(daemon_->WaitForLog(expected.log)) << daemon_->log();
    board_.Withdraw();
  }
  EXPECT_TRUE(daemon_->WaitForLog("self_probe_works")) << daemon_->log();
  ExpectWholeLife("host");
}

TEST_F(FailpointTest, ARestartGoesOnWithoutWhatItCannotTakeUp) {
  const std::string runtime_dir = directory_.path() + "/run";
  for (const RestartCase& expected : RestartCases()) {
    SCOPED_TRACE(expected.faults.back().failpoint);
    const DaemonProcess::Options options =
        MakeOptions({ConfigFlag(), "--drain-timeout=50ms", "--health-interval=1h"}, runtime_dir);
    absl::StatusOr<std::unique_ptr<DaemonProcess>> killed = DaemonProcess::Start(options);
    ASSERT_TRUE(killed.ok()) << killed.status();
    const auto client = Client::Connect({.runtime_dir = runtime_dir});
    ASSERT_TRUE(client.ok()) << client.status();
    const auto buffer = (*client)->RegisterBuffer({.size_bytes = 4096, .device = Device::Host()});
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    (*killed)->Kill();
    board_.Order(expected.faults);

    absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = DaemonProcess::Start(options);

    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    EXPECT_TRUE(daemon_->WaitForLog(expected.log, absl::Seconds(20))) << daemon_->log();
    EXPECT_TRUE(board_.AllFired());
    board_.Withdraw();
    ExpectWholeLife("host");
    daemon_.reset();
    std::filesystem::remove_all(runtime_dir);
  }
}

// It is left alone, as if it were not known whether its process is about to end.
TEST_F(FailpointTest, ASessionWhoseStreamBreaksIsKeptWithoutADescriptorToLookAtItsProcess) {
  StartDaemon({ConfigFlag(), "--drain-timeout=50ms"});
  auto session = client_->Attach();
  ASSERT_NE(session->id(), 0U);
  board_.Order({{"process_watcher.dup", EMFILE}});

  session.reset();

  EXPECT_TRUE(Eventually([&] { return board_.AllFired(); }));
  EXPECT_EQ(client_->Stats().sessions_size(), 1);
}

// One that failed before it had taken the state up used to save an empty one in its place.
TEST_F(FailpointTest, AStartThatFailsLeavesTheStateToTheNext) {
  const DaemonProcess::Options options = MakeOptions({"--drain-timeout=50ms"}, directory_.path() + "/run");
  absl::StatusOr<std::unique_ptr<DaemonProcess>> killed = DaemonProcess::Start(options);
  ASSERT_TRUE(killed.ok()) << killed.status();
  const auto client = Client::Connect({.runtime_dir = options.runtime_dir});
  ASSERT_TRUE(client.ok()) << client.status();
  const auto buffer = (*client)->RegisterBuffer({.size_bytes = 4096, .device = Device::Host()});
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  (*killed)->Kill();
  for (const char* failpoint : {"thread.start", "epoll_thread.create", "runtime_dir.bind"}) {
    SCOPED_TRACE(failpoint);
    EXPECT_TRUE(SpawnsAndFails({{failpoint, EMFILE}}, options));
    const absl::StatusOr<ExitState> state = daemon_->Wait();
    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_EQ(state->code, kExitFailure);
  }
  board_.Withdraw();

  absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = DaemonProcess::Start(options);

  ASSERT_TRUE(daemon.ok()) << daemon.status();
  EXPECT_TRUE((*daemon)->WaitForLog("session_handed_back", absl::Seconds(20))) << (*daemon)->log();
}

TEST_F(FailpointTest, AStopEndsInOrderWhateverFails) {
  const std::string runtime_dir = directory_.path() + "/run";
  for (const std::vector<Fault>& faults : HarmlessAtStop()) {
    SCOPED_TRACE(faults.front().failpoint);
    absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon =
        DaemonProcess::Start(MakeOptions({"--drain-timeout=50ms"}, runtime_dir));
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    // The stop waits for the group, and so takes long enough to be seen.
    client_ = std::make_unique<DaemonClient>((*daemon)->grpc_address());
    const std::unique_ptr<Session> session = client_->Attach();
    MustFormGroup("alone", {session.get()});
    board_.Order(faults);

    const absl::StatusOr<ExitState> state = (*daemon)->Stop();

    ASSERT_TRUE(state.ok()) << state.status();
    EXPECT_EQ(state->code, kExitOk) << (*daemon)->log();
    EXPECT_THAT((*daemon)->log(), HasSubstr(" stopped"));
    EXPECT_TRUE(board_.AllFired());
    board_.Withdraw();
    EXPECT_TRUE(DaemonProcess::Start(MakeOptions({}, runtime_dir)).ok());
    std::filesystem::remove_all(runtime_dir);
  }
}

TEST_F(FailpointTest, AFailedCallFailsOneRequestAndLeaksNothing) {
  StartDaemon({ConfigFlag(), "--health-interval=1h"});

  WalkLives(LifeCases(), "host");

  EXPECT_THAT(daemon_->log(), HasSubstr("state_not_saved"));
  EXPECT_THAT(daemon_->log(), HasSubstr("state_saved_again"));
  // Of this test's process, by client_'s connection.
  EXPECT_TRUE(Eventually([&] { return CountPidfds(daemon_->pid()) == 1; })) << CountPidfds(daemon_->pid());
}

TEST_F(FailpointTest, AFailedCallFailsOneRequestWithHugePages) {
  StartDaemon({ConfigFlag(), "--health-interval=1h", "--host-huge-pages=transparent"});

  WalkLives(HugePagesCases(), "host");
}

TEST_F(FailpointTest, AFailedCallFailsOneRequestOnANumaNode) {
  const auto can_bind = DaemonProcess::Start(MakeOptions({"--host-numa-node=0"}, directory_.path() + "/trial"));
  if (!can_bind.ok() && absl::StrContains(can_bind.status().message(), "CAP_SYS_NICE")) {
    GTEST_SKIP() << "memory cannot be bound to a NUMA node here";
  }
  StartDaemon({ConfigFlag(), "--health-interval=1h", "--host-numa-node=0"});

  WalkLives(NumaCases(), "host");
}

TEST_F(FailpointTest, AFailedProbeMakesTheDeviceUnhealthyUntilOneSucceeds) {
  // Checks make connections, which shall be gone now and then.
  StartDaemon({"--health-interval=400ms"});

  WalkProbes(ProbeCases(), "host");
}

TEST_F(FailpointTest, APartOfTheDaemonThatFailsIsNamedByHealthUntilItWorks) {
  struct PartCase {
    Fault fault;
    const char* name;
    std::vector<const char*> services;
    const char* log;
  };
  const char* const kBuffers = "a8a.v1.BufferService";
  const char* const kSessions = "a8a.v1.SessionService";
  const char* const kAdmin = "a8a.v1.AdminService";
  const std::vector<PartCase> cases = {
      {{"server.dup_to_try", EMFILE, 0, kAlways}, "part/descriptors", {kBuffers, kSessions}, "no descriptor left"},
      {{"state_file.create", ENOSPC, 0, kAlways}, "part/state", {}, "part=state reason=\"cannot create"},
      {{"state_file.write", ENOSPC, 0, kAlways}, "part/state", {}, "part=state reason=\"cannot write"},
      {{"self_probe.connect", ECONNREFUSED, 0, kAlways}, "part/fd.sock", {kBuffers, kAdmin}, "cannot connect to"},
  };
  StartDaemon({"--health-interval=400ms"});
  for (const PartCase& expected : cases) {
    SCOPED_TRACE(expected.fault.failpoint);
    EXPECT_TRUE(Eventually([&] { return Serving("") && Serving(expected.name); }));

    board_.Order({expected.fault});

    EXPECT_TRUE(Eventually([&] { return !Serving(expected.name) && !Serving(""); }));
    for (const std::string service : {kBuffers, kSessions, kAdmin}) {
      const bool named = std::count(expected.services.begin(), expected.services.end(), service) > 0;
      EXPECT_TRUE(!named || Eventually([&] { return !Serving(service); })) << service;
    }
    EXPECT_TRUE(daemon_->WaitForLog(expected.log)) << daemon_->log();
    board_.Withdraw();
    EXPECT_TRUE(Eventually([&] { return Serving("") && Serving(expected.name); }));
  }
}

// What comes over the metrics' socket until it is closed; `connections` others are made first and say nothing.
std::string Scrape(const std::string& path, int connections) {
  std::vector<UniqueFd> sockets;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  for (int i = 0; i <= connections; ++i) {
    sockets.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(sockets.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return "";
  }
  constexpr std::string_view kRequest = "GET /metrics HTTP/1.1\r\nHost: a8a\r\n\r\n";
  if (::send(sockets.back().get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL) < 0) return "";
  std::string page;
  char chunk[4096];
  for (ssize_t count = 0; (count = ::recv(sockets.back().get(), chunk, sizeof(chunk), 0)) > 0;) {
    page.append(chunk, static_cast<std::size_t>(count));
  }
  return page;
}

TEST_F(FailpointTest, AScrapeGoesOnWithoutWhatItCanDoWithout) {
  StartDaemon({});
  const std::string path = daemon_->runtime_dir() + "/metrics.sock";
  ASSERT_THAT(Scrape(path, 0), HasSubstr("\nprocess_max_fds "));

  board_.Order({{"process_families.getrlimit", EPERM}});
  const std::string page = Scrape(path, 0);
  EXPECT_TRUE(board_.AllFired());
  EXPECT_THAT(page, HasSubstr("\nprocess_open_fds "));
  EXPECT_FALSE(absl::StrContains(page, "process_max_fds"));

  // More than the sixteen that may be open: the oldest are ended.
  board_.Order({{"http_server.shutdown", ENOTCONN}});
  static_cast<void>(Scrape(path, 20));
  EXPECT_TRUE(board_.AllFired());
  EXPECT_THAT(Scrape(path, 20), HasSubstr("\nprocess_max_fds "));
}

// With the fake driver instead of libcuda.so.1.
class CudaFailpointTest : public FailpointTest {
 protected:
  CudaFailpointTest() { ::setenv("LD_LIBRARY_PATH", A8A_FAKE_LIBCUDA_DIR, /*overwrite=*/1); }
  ~CudaFailpointTest() override { ::unsetenv("LD_LIBRARY_PATH"); }

  void StartCudaDaemon(const std::string& health_interval) {
    StartDaemon({ConfigFlag(), "--backend=cuda", "--health-interval=" + health_interval});
  }
  void FailCall(const DriverCase& expected) const {
    driver_.Script(absl::StrCat("fail ", expected.call, " ", expected.result, "\n"));
  }

  const cuda::FakeLibcuda driver_{A8A_FAKE_LIBCUDA_DIR "/libcuda.so.1", directory_.path() + "/script"};
};

TEST_F(CudaFailpointTest, ADriverThatFailsAtTheStartIsNamed) {
  for (const DriverCase& expected : DriverCases()) {
    if (expected.step != std::string("start")) continue;
    SCOPED_TRACE(expected.call);
    FailCall(expected);
    const std::string runtime_dir = directory_.path() + "/run";

    absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon =
        DaemonProcess::Spawn(MakeOptions({"--backend=cuda"}, runtime_dir));
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);

    ExpectStartFails({.faults = {}, .exit_status = kExitFailure, .log = expected.message}, runtime_dir);
  }
}

TEST_F(CudaFailpointTest, AFailedCallFailsOneRequestAndLeaksNothing) {
  StartCudaDaemon("1h");
  WalkLives(CudaCases(), "cuda:0");
  for (const DriverCase& expected : DriverCases()) {
    if (expected.step == std::string("start") || expected.step == std::string("probe")) continue;
    SCOPED_TRACE(expected.call);
    const std::map<std::string, long> before = IdleFootprint();

    FailCall(expected);
    const Outcome outcome = LiveWholeLife(*daemon_, "cuda:0");
    driver_.Script("");

    ExpectOutcome({.faults = {}, .step = expected.step, .code = expected.code, .message = expected.message}, outcome);
    ExpectWholeLife("cuda:0");
    ExpectNothingLeaked(before);
  }
}

// The driver says no more than that a system call failed.
TEST_F(CudaFailpointTest, ADriverWithoutDescriptorsIsOutOfDescriptors) {
  StartCudaDaemon("1h");
  driver_.Script(absl::StrCat("fail cuMemExportToShareableHandle ", kOperatingSystem, "\n"));
  board_.Order({{"cuda_memory.dup_to_try", EMFILE}});

  ExpectOutcome({.faults = {},
                 .step = "register",
                 .code = StatusCode::RESOURCE_EXHAUSTED,
                 .message = "the daemon has no file descriptor left"},
                LiveWholeLife(*daemon_, "cuda:0"));
}

TEST_F(CudaFailpointTest, AFailedProbeMakesTheDeviceUnhealthyUntilOneSucceeds) {
  StartCudaDaemon("400ms");
  WalkProbes(CudaProbeCases(), "cuda:0");
  for (const DriverCase& expected : DriverCases()) {
    if (expected.step != std::string("probe")) continue;
    SCOPED_TRACE(expected.call);
    ExpectUnhealthyMeanwhile(
        "cuda:0", expected.message, [&] { FailCall(expected); }, [&] { driver_.Script(""); });
  }
}

std::set<std::string> WalkedFailpoints() {
  // Those of tests of their own. connection_registry.shutdown takes a flood of 2048 refusals to reach, and nothing
  // depends on what it and state_file.unlink_probe return.
  std::set<std::string> walked = {"cuda_memory.dup_to_try",     "process_watcher.dup",  "connection_registry.shutdown",
                                  "process_families.getrlimit", "http_server.shutdown", "server.dup_to_try",
                                  "state_file.unlink_probe"};
  for (const StartCase& start : StartCases()) {
    for (const Fault& fault : start.faults) walked.insert(fault.failpoint);
  }
  for (const auto* cases : {&LifeCases(), &HugePagesCases(), &NumaCases(), &CudaCases()}) {
    for (const LifeCase& life : *cases) {
      for (const Fault& fault : life.faults) walked.insert(fault.failpoint);
    }
  }
  for (const auto* cases : {&ProbeCases(), &CudaProbeCases()}) {
    for (const ProbeCase& probe : *cases) walked.insert(probe.failpoint);
  }
  for (const RestartCase& restart : RestartCases()) {
    for (const Fault& fault : restart.faults) walked.insert(fault.failpoint);
  }
  for (const Fault& fault : HarmlessAtStart()) walked.insert(fault.failpoint);
  for (const std::vector<Fault>& faults : HarmlessAtStop()) {
    for (const Fault& fault : faults) walked.insert(fault.failpoint);
  }
  for (const PassedCase& expected : PassedCases()) walked.insert(expected.fault.failpoint);
  for (const SelfProbeCase& expected : SelfProbeCases()) walked.insert(expected.fault.failpoint);
  return walked;
}

TEST_F(FailpointTest, EveryFailpointIsWalked) {
  StartDaemon({});

  EXPECT_EQ(WalkedFailpoints(), board_.Names());
}

TEST_F(CudaFailpointTest, EveryDriverCallIsWalked) {
  const std::string trace = directory_.path() + "/trace";
  driver_.Script(absl::StrCat("trace ", trace, "\n"));
  StartCudaDaemon("1h");
  ExpectWholeLife("cuda:0");

  std::set<std::string> made;
  std::ifstream file(trace);
  for (std::string call; std::getline(file, call);) made.insert(call);
  std::set<std::string> walked;
  for (const DriverCase& expected : DriverCases()) walked.insert(expected.call);

  EXPECT_EQ(walked, made);
}

}  // namespace
}  // namespace a8a::testing
