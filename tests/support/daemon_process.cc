#include "tests/support/daemon_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "kernels/base/check.h"
#include "kernels/base/unique_fd.h"
#include "proto/fd_protocol.h"

namespace a8a::testing {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(2);

// Calls `done` until it returns true or `timeout` has passed.
template <typename Predicate>
bool PollUntil(absl::Duration timeout, Predicate done) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!done()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(kPollInterval);
  }
  return true;
}

bool CanConnect(const std::string& path, int type) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  A8A_CHECK(path.size() < sizeof(address.sun_path), absl::StrCat(path, " is too long for a socket"));
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  return fd.valid() && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

constexpr int kFirstPassed = 3;  // SD_LISTEN_FDS_START

// All that the child needs, made before fork.
struct Launch {
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
  std::vector<int> passed;
  int log_fd = -1;
  std::uint64_t descriptor_limit = 0;
  char listen_pid[sizeof("LISTEN_PID=") + 10] = "LISTEN_PID=";
  std::vector<char*> argv = {};
  std::vector<char*> envp = {};
};

void Point(std::vector<std::string>* strings, std::vector<char*>* pointers) {
  for (std::string& string : *strings) pointers->push_back(string.data());
}

// Only async-signal-safe calls.
void WritePid(char* end_of_text, pid_t pid) {
  char digits[10];
  int count = 0;
  for (; pid > 0; pid /= 10) digits[count++] = static_cast<char>('0' + pid % 10);
  while (count > 0) *end_of_text++ = digits[--count];
}

// Puts the descriptors that are passed where the service looks for them; first out of each other's way.
void PlacePassed(Launch* launch) {
  const int count = static_cast<int>(launch->passed.size());
  for (int& fd : launch->passed) fd = ::fcntl(fd, F_DUPFD, kFirstPassed + count);
  launch->log_fd = ::fcntl(launch->log_fd, F_DUPFD_CLOEXEC, kFirstPassed + count);
  for (int i = 0; i < count; ++i) ::dup2(launch->passed[static_cast<std::size_t>(i)], kFirstPassed + i);
}

// Runs in the child between fork and exec: only async-signal-safe calls.
[[noreturn]] void ExecDaemon(Launch* launch) {
  PlacePassed(launch);
  const int log_fd = launch->log_fd;
  const std::uint64_t descriptor_limit = launch->descriptor_limit;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t no_signals;
  sigemptyset(&no_signals);
  ::sigprocmask(SIG_SETMASK, &no_signals, nullptr);
  ::dup2(log_fd, STDOUT_FILENO);
  ::dup2(log_fd, STDERR_FILENO);
  ::close_range(kFirstPassed + static_cast<unsigned>(launch->passed.size()), ~0U, CLOSE_RANGE_CLOEXEC);
  if (descriptor_limit != 0) {
    const rlimit limit = {descriptor_limit, descriptor_limit};
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  WritePid(launch->listen_pid + std::strlen(launch->listen_pid), ::getpid());
  ::execve(launch->argv[0], launch->argv.data(), launch->envp.data());
  ::_exit(127);
}

// A8A_TEST_DAEMON names another, for tests that run where they were not built.
std::string DaemonPath() {
  const char* const path = std::getenv("A8A_TEST_DAEMON");
  return path == nullptr ? A8A_DAEMON_PATH : path;
}

std::vector<std::string> DaemonArguments(const std::string& runtime_dir, const std::vector<std::string>& flags) {
  std::vector<std::string> arguments = {DaemonPath(), absl::StrCat("--runtime-dir=", runtime_dir), "--backend=host",
                                        "--drain-timeout=1s"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return arguments;
}

ExitState ToExitState(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {.code = -1, .signal = WTERMSIG(wait_status)};
  return {.code = WEXITSTATUS(wait_status), .signal = 0};
}

// Pointers into itself: it must not be moved once made, which returning it as it is does not.
Launch PrepareLaunch(const DaemonProcess::Options& options, const std::string& runtime_dir, int log_fd) {
  Launch launch;
  launch.arguments = DaemonArguments(runtime_dir, options.flags);
  launch.environment = options.environment;
  std::vector<std::string> names;
  for (const auto& [name, fd] : options.descriptors) {
    names.push_back(name);
    launch.passed.push_back(fd);
  }
  if (!names.empty()) {
    launch.environment.push_back(absl::StrCat("LISTEN_FDS=", names.size()));
    launch.environment.push_back(absl::StrCat("LISTEN_FDNAMES=", absl::StrJoin(names, ":")));
    launch.envp.push_back(launch.listen_pid);
  }
  launch.log_fd = log_fd;
  launch.descriptor_limit = options.descriptor_limit;
  Point(&launch.arguments, &launch.argv);
  launch.argv.push_back(nullptr);
  Point(&launch.environment, &launch.envp);
  for (char** variable = environ; *variable != nullptr; ++variable) launch.envp.push_back(*variable);
  launch.envp.push_back(nullptr);
  return launch;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DaemonProcess>> DaemonProcess::Start(const Options& options) {
  absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = Spawn(options);
  if (!daemon.ok()) return daemon;
  if (absl::Status status = (*daemon)->WaitUntilServing(); !status.ok()) return status;
  (*daemon)->expect_orderly_end_ = true;
  return daemon;
}

absl::StatusOr<std::unique_ptr<DaemonProcess>> DaemonProcess::Spawn(const Options& options) {
  std::unique_ptr<DaemonProcess> daemon(new DaemonProcess());
  daemon->runtime_dir_ = options.runtime_dir.empty() ? daemon->directory_.path() + "/run" : options.runtime_dir;
  daemon->log_path_ = daemon->directory_.path() + "/log";
  const UniqueFd log_fd(::open(daemon->log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log_fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", daemon->log_path_));

  Launch launch = PrepareLaunch(options, daemon->runtime_dir_, log_fd.get());
  daemon->pid_ = ::fork();
  if (daemon->pid_ < 0) return absl::ErrnoToStatus(errno, "cannot fork");
  if (daemon->pid_ == 0) ExecDaemon(&launch);
  return daemon;
}

absl::Status DaemonProcess::WaitUntilServing() {
  bool serving = false;
  const bool in_time = PollUntil(kPatience, [&] {
    serving = CanConnect(fd_socket_path(), SOCK_SEQPACKET) && CanConnect(grpc_socket_path(), SOCK_STREAM);
    return serving || Reap();
  });
  if (serving) return absl::OkStatus();
  if (in_time) return absl::FailedPreconditionError(absl::StrCat("a8a-daemon ended at its start: ", log()));
  return absl::DeadlineExceededError(absl::StrCat("a8a-daemon does not serve: ", log()));
}

DaemonProcess::~DaemonProcess() {
  if (pid_ <= 0 || ended_) return;
  if (!expect_orderly_end_) {
    Kill();
    return;
  }
  const absl::StatusOr<ExitState> state = Stop();
  if (!state.ok()) Kill();
  if (!state.ok() || state->code != 0) {
    ADD_FAILURE() << "a8a-daemon did not end with status 0 after SIGTERM: "
                  << (state.ok() ? absl::StrCat("status ", state->code, ", signal ", state->signal)
                                 : state.status().ToString())
                  << "; its log:\n"
                  << log();
  }
}

std::string DaemonProcess::grpc_socket_path() const { return absl::StrCat(runtime_dir_, "/", kGrpcSocketName); }
std::string DaemonProcess::grpc_address() const { return absl::StrCat("unix:", grpc_socket_path()); }
std::string DaemonProcess::fd_socket_path() const { return absl::StrCat(runtime_dir_, "/", kFdSocketName); }

std::string DaemonProcess::log() const {
  std::ostringstream text;
  text << std::ifstream(log_path_).rdbuf();
  return text.str();
}

bool DaemonProcess::WaitForLog(absl::string_view text, absl::Duration timeout) const {
  return PollUntil(timeout, [&] { return absl::StrContains(log(), text); });
}

void DaemonProcess::Signal(int signal) const {
  if (!ended_) ::kill(pid_, signal);
}

bool DaemonProcess::Reap() {
  if (ended_) return true;
  int wait_status = 0;
  if (::waitpid(pid_, &wait_status, WNOHANG) != pid_) return false;
  ended_ = true;
  exit_state_ = ToExitState(wait_status);
  return true;
}

absl::StatusOr<ExitState> DaemonProcess::Wait(absl::Duration timeout) {
  if (!PollUntil(timeout, [&] { return Reap(); })) {
    return absl::DeadlineExceededError(absl::StrCat("a8a-daemon ", pid_, " still runs: ", log()));
  }
  return exit_state_;
}

absl::StatusOr<ExitState> DaemonProcess::Stop(absl::Duration timeout) {
  Signal(SIGTERM);
  return Wait(timeout);
}

void DaemonProcess::Kill() {
  if (ended_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  ended_ = true;
  exit_state_ = {.code = -1, .signal = SIGKILL};
}

}  // namespace a8a::testing
