// A real a8a-daemon process for tests: started in a private directory, with its log captured, and stopped again.
//
//   auto daemon = DaemonProcess::Start({.flags = {"--host-pool-bytes=64MiB"}});
//   ASSERT_TRUE(daemon.ok()) << daemon.status();
//   auto channel = grpc::CreateChannel((*daemon)->grpc_address(), grpc::InsecureChannelCredentials());
//
// The destructor stops a daemon that still runs by SIGTERM and fails the test if it does not exit with status 0, so
// that every test also checks for an orderly end (and, under a sanitizer, for leaks). The daemon dies with the thread
// that started it. Not thread-safe, except for the accessors.
#ifndef A8A_TESTS_SUPPORT_DAEMON_PROCESS_H_
#define A8A_TESTS_SUPPORT_DAEMON_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/support/temp_dir.h"

namespace a8a::testing {

// How a process ended.
struct ExitState {
  int code = -1;   // exit status, -1 if a signal ended it
  int signal = 0;  // 0 if it exited
};

// Generous, because sanitizers and busy machines are slow: a test that waits this long has failed.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

class DaemonProcess {
 public:
  struct Options {
    // Come after --runtime-dir, --backend=host and --drain-timeout=1s, and win over them.
    std::vector<std::string> flags = {};
    // Empty: a fresh one. Must outlive the daemon otherwise.
    std::string runtime_dir = {};
    // RLIMIT_NOFILE of the daemon, soft and hard; 0: as the test's.
    std::uint64_t descriptor_limit = 0;
    // "NAME=value"s on top of the test's environment.
    std::vector<std::string> environment = {};
    // Passed as a service manager does [sd_listen_fds(3)]: names and descriptors, which stay the test's.
    std::vector<std::pair<std::string, int>> descriptors = {};
  };

  // Starts a daemon and waits until both its sockets take connections.
  //
  // Errors: FAILED_PRECONDITION with the daemon's log if it ended first, DEADLINE_EXCEEDED.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<DaemonProcess>> Start(const Options& options);
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<DaemonProcess>> Start() { return Start(Options()); }
  // Starts a daemon that is expected to fail, or whose start is itself under test. Its destructor kills it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<DaemonProcess>> Spawn(const Options& options);

  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::string& runtime_dir() const { return runtime_dir_; }
  // "unix:PATH" of the gRPC socket.
  [[nodiscard]] std::string grpc_address() const;
  [[nodiscard]] std::string grpc_socket_path() const;
  [[nodiscard]] std::string fd_socket_path() const;

  // What the daemon has written to stdout and stderr so far.
  [[nodiscard]] std::string log() const;
  // Waits until the log contains `text`.
  [[nodiscard]] bool WaitForLog(absl::string_view text, absl::Duration timeout = kPatience) const;

  void Signal(int signal) const;
  // Waits for the daemon's end. DEADLINE_EXCEEDED if it goes on.
  [[nodiscard]] absl::StatusOr<ExitState> Wait(absl::Duration timeout = kPatience);
  // SIGTERM, then Wait.
  [[nodiscard]] absl::StatusOr<ExitState> Stop(absl::Duration timeout = kPatience);
  // SIGKILL, and waits for the end. The directory stays as the daemon left it.
  void Kill();
  [[nodiscard]] bool running() const { return !ended_; }

 private:
  DaemonProcess() = default;
  [[nodiscard]] absl::Status WaitUntilServing();
  [[nodiscard]] bool Reap();

  TempDir directory_;  // holds the log and, unless the caller named one, the runtime directory
  std::string runtime_dir_;
  std::string log_path_;
  pid_t pid_ = -1;
  bool ended_ = false;
  bool expect_orderly_end_ = false;
  ExitState exit_state_;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_SUPPORT_DAEMON_PROCESS_H_
