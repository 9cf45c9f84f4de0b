#include "client/tools/rank_processes.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "kernels/base/status_macros.h"

namespace a8a::tools {
namespace {

// First argument of a child. Not an option of the program: help does not show it.
constexpr char kRankArgument[] = "--a8a-rank-process";
constexpr int kExecFailed = 127;

sigset_t SupervisedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

// Runs in the child between fork and exec.
[[noreturn]] void ExecRank(const char* file, char* const* arguments, int shared_fd, pid_t parent,
                           const sigset_t& mask) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExecFailed);  // the parent died before it could be noticed
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::fcntl(shared_fd, F_SETFD, 0);
  ::execvp(file, arguments);
  ::_exit(kExecFailed);
}

// A launcher may be in another mount namespace by the time that it starts the program, where /proc/self is itself.
absl::StatusOr<std::string> ProgramPath() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::InternalError(absl::StrCat("cannot read /proc/self/exe: ", error.message()));
  return path.string();
}

absl::StatusOr<std::vector<std::string>> RankCommand(const RankProcesses::Options& options, int rank) {
  std::vector<std::string> words;
  for (const std::string& word : options.launcher) {
    words.push_back(absl::StrReplaceAll(word, {{"{rank}", absl::StrCat(rank)}}));
  }
  std::string program = program_invocation_name;
  if (!words.empty()) {
    A8A_ASSIGN_OR_RETURN(program, ProgramPath());
  }
  words.insert(words.end(),
               {program, kRankArgument, options.role, absl::StrCat(rank), absl::StrCat(options.shared_fd)});
  return words;
}

absl::StatusOr<pid_t> StartRank(const RankProcesses::Options& options, int rank, const sigset_t& mask) {
  A8A_ASSIGN_OR_RETURN(std::vector<std::string> arguments, RankCommand(options, rank));
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot start rank ", rank));
  // Without a launcher this very file, even if another has taken its place since.
  const char* const file = options.launcher.empty() ? "/proc/self/exe" : pointers[0];
  if (pid == 0) ExecRank(file, pointers.data(), options.shared_fd, parent, mask);
  return pid;
}

// Waits for one of the supervised signals; 0 when `timeout` passes first.
int WaitForSignal(absl::Duration timeout) {
  const sigset_t signals = SupervisedSignals();
  const timespec patience = absl::ToTimespec(timeout);
  const int signal = ::sigtimedwait(&signals, nullptr, &patience);
  return signal < 0 ? 0 : signal;
}

// A signal that asks this process to end, if one is pending.
int TakeTerminationSignal() {
  for (int signal = WaitForSignal(absl::ZeroDuration()); signal != 0; signal = WaitForSignal(absl::ZeroDuration())) {
    if (signal != SIGCHLD) return signal;
  }
  return 0;
}

}  // namespace

std::optional<RankInvocation> RankInvocation::FromArguments(int argc, const char* const* argv) {
  if (argc != 5 || std::strcmp(argv[1], kRankArgument) != 0) return std::nullopt;
  RankInvocation invocation{.role = argv[2]};
  if (!absl::SimpleAtoi(argv[3], &invocation.rank) || !absl::SimpleAtoi(argv[4], &invocation.shared_fd)) {
    return std::nullopt;
  }
  return invocation;
}

bool RankProcesses::RankEnd::killed_by_signal() const { return WIFSIGNALED(wait_status); }

std::string RankProcesses::RankEnd::Describe() const {
  if (killed_by_signal()) {
    const int signal = WTERMSIG(wait_status);
    const char* name = ::sigabbrev_np(signal);
    return absl::StrCat("was killed by SIG", name == nullptr ? absl::StrCat(signal) : name, " (", ::strsignal(signal),
                        ")");
  }
  if (WEXITSTATUS(wait_status) == kExecFailed) return "could not be started";
  return absl::StrCat("exited with status ", WEXITSTATUS(wait_status));
}

RankProcesses::RankProcesses() {
  // A parent that ignores SIGCHLD hands that on, and then there would be nothing to wait for.
  ::signal(SIGCHLD, SIG_DFL);
  const sigset_t signals = SupervisedSignals();
  ::sigprocmask(SIG_BLOCK, &signals, &original_mask_);
}

RankProcesses::~RankProcesses() {
  KillAll();
  ::sigprocmask(SIG_SETMASK, &original_mask_, nullptr);
}

absl::StatusOr<std::unique_ptr<RankProcesses>> RankProcesses::Start(const Options& options) {
  std::unique_ptr<RankProcesses> ranks(new RankProcesses());
  for (int rank = 0; rank < options.count; ++rank) {
    A8A_ASSIGN_OR_RETURN(const pid_t pid, StartRank(options, rank, ranks->original_mask_));
    ranks->pids_.push_back(pid);
  }
  return ranks;
}

std::vector<RankProcesses::RankEnd> RankProcesses::Reap() {
  std::vector<RankEnd> failed;
  for (std::size_t rank = 0; rank < pids_.size(); ++rank) {
    int wait_status = 0;
    if (pids_[rank] < 0 || ::waitpid(pids_[rank], &wait_status, WNOHANG) != pids_[rank]) continue;
    pids_[rank] = -1;
    if (wait_status != 0) failed.push_back({.rank = static_cast<int>(rank), .wait_status = wait_status});
  }
  return failed;
}

void RankProcesses::KillAll() {
  for (const pid_t pid : pids_) {
    if (pid > 0) ::kill(pid, SIGKILL);
  }
  for (pid_t& pid : pids_) {
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    pid = -1;
  }
}

RankProcesses::Outcome RankProcesses::Supervise(absl::Duration tick, absl::FunctionRef<absl::Status()> on_tick) {
  Outcome outcome;
  const auto running = [this] { return std::any_of(pids_.begin(), pids_.end(), [](pid_t pid) { return pid > 0; }); };
  while (true) {
    outcome.failed = Reap();
    if (!outcome.failed.empty() || !running()) break;
    const int signal = WaitForSignal(tick);
    if (signal != 0 && signal != SIGCHLD) {
      outcome.interrupted_by = signal;
      break;
    }
    outcome.stopped = on_tick();
    if (!outcome.stopped.ok()) break;
  }
  // A signal to the whole process group ends ranks too: then that is the reason, not the ranks.
  if (outcome.interrupted_by == 0) outcome.interrupted_by = TakeTerminationSignal();
  KillAll();
  return outcome;
}

}  // namespace a8a::tools
