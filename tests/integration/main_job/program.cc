#include "tests/integration/main_job/program.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "a8a/v1/stat_service.grpc.pb.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace a8a::testing {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(2);

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::vector<char*> Pointers(std::vector<std::string>* strings) {
  std::vector<char*> pointers;
  for (std::string& text : *strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Runs in the child between fork and exec.
[[noreturn]] void ExecProgram(char* const* arguments, char* const* environment, int out_fd, int err_fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // As a shell's foreground job has them, whatever the test runner ignores.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_DFL);
  ::dup2(out_fd, STDOUT_FILENO);
  ::dup2(err_fd, STDERR_FILENO);
  ::execve(arguments[0], arguments, environment);
  ::_exit(126);
}

UniqueFd CreateFile(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

// The parent of a process; -1 if it has ended.
pid_t ParentOf(pid_t pid) {
  const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"));
  // "pid (name) state ppid": the name may hold anything, so it is skipped from the right.
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return -1;
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(name_end + 2), ' ');
  int parent = -1;
  return fields.size() > 1 && absl::SimpleAtoi(fields[1], &parent) ? parent : -1;
}

}  // namespace

nlohmann::json ProgramResult::Json() const {
  nlohmann::json json = nlohmann::json::parse(out, /*cb=*/nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(json.is_object()) << "stdout is not one JSON object:\n" << out << "\nstderr:\n" << err;
  return json.is_object() ? json : nlohmann::json();
}

bool ChildProcess::EndsWithin(absl::Duration timeout) const {
  pollfd ended = {.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) == 1;
}

Program::Program(std::vector<std::string> arguments, std::vector<std::string> environment) {
  const UniqueFd out = CreateFile(directory_.path() + "/out");
  const UniqueFd err = CreateFile(directory_.path() + "/err");
  for (char** variable = environ; *variable != nullptr; ++variable) environment.emplace_back(*variable);
  const std::vector<char*> argument_pointers = Pointers(&arguments);
  const std::vector<char*> environment_pointers = Pointers(&environment);
  pid_ = ::fork();
  if (pid_ == 0) ExecProgram(argument_pointers.data(), environment_pointers.data(), out.get(), err.get());
  EXPECT_GT(pid_, 0) << "cannot fork";
}

Program::~Program() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void Program::Signal(int signal) const {
  if (pid_ > 0) ::kill(pid_, signal);
}

std::string Program::Read(const char* name) const { return ReadFile(absl::StrCat(directory_.path(), "/", name)); }

ProgramResult Program::Wait() {
  int wait_status = 0;
  const absl::Time deadline = absl::Now() + kPatience;
  while (::waitpid(pid_, &wait_status, WNOHANG) == 0) {
    if (absl::Now() > deadline) {
      ADD_FAILURE() << "the program still runs; its stderr:\n" << Read("err");
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, &wait_status, 0);
      break;
    }
    absl::SleepFor(kPollInterval);
  }
  pid_ = -1;
  const ExitState exit = WIFSIGNALED(wait_status) ? ExitState{.code = -1, .signal = WTERMSIG(wait_status)}
                                                  : ExitState{.code = WEXITSTATUS(wait_status), .signal = 0};
  return {.exit = exit, .out = Read("out"), .err = Read("err")};
}

std::vector<ChildProcess> Program::Children() const {
  std::vector<ChildProcess> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    pid_t pid = -1;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!pidfd.valid() || ParentOf(pid) != pid_) continue;
    const std::string arguments = ReadFile(absl::StrCat("/proc/", pid, "/cmdline"));
    children.push_back({.pid = pid, .pidfd = std::move(pidfd), .arguments = absl::StrSplit(arguments, '\0')});
  }
  return children;
}

ProgramResult RunProgram(std::vector<std::string> arguments, std::vector<std::string> environment) {
  return Program(std::move(arguments), std::move(environment)).Wait();
}

const ChildProcess* FindRank(const std::vector<ChildProcess>& children, int rank) {
  // program, marker, role, rank, descriptor: see client/tools/rank_processes.cc
  const auto found = std::find_if(children.begin(), children.end(), [rank](const ChildProcess& child) {
    return child.arguments.size() > 3 && child.arguments[3] == absl::StrCat(rank);
  });
  return found == children.end() ? nullptr : &*found;
}

bool PollStats(const DaemonProcess& daemon, const std::function<bool(const v1::Stats&)>& done) {
  const auto stub =
      v1::StatService::NewStub(grpc::CreateChannel(daemon.grpc_address(), grpc::InsecureChannelCredentials()));
  for (const absl::Time deadline = absl::Now() + kPatience; absl::Now() < deadline; absl::SleepFor(kPollInterval)) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    v1::GetStatsResponse response;
    if (stub->GetStats(&context, v1::GetStatsRequest(), &response).ok() && done(response.stats())) return true;
  }
  return false;
}

bool WaitForAllToAlls(const DaemonProcess& daemon) {
  return PollStats(daemon, [](const v1::Stats& stats) {
    return std::any_of(stats.groups().begin(), stats.groups().end(), [](const v1::GroupStats& group) {
      return group.ranks_size() > 0 &&
             std::all_of(group.ranks().begin(), group.ranks().end(),
                         [](const v1::RankStats& rank) { return rank.total().all_to_alls() > 0; });
    });
  });
}

bool WaitForNoSessions(const DaemonProcess& daemon) {
  return PollStats(daemon, [](const v1::Stats& stats) { return stats.sessions_size() == 0; });
}

}  // namespace a8a::testing
