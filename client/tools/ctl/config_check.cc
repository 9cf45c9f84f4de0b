#include "client/tools/ctl/config_check.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "kernels/base/unique_fd.h"

namespace a8a::ctl {
namespace {

constexpr char kDaemonProgram[] = "a8a-daemon";
// daemon/command_line.h
constexpr int kDaemonExitUsage = 2;

std::string FindDaemon() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path beside = self.parent_path() / kDaemonProgram;
  return !error && ::access(beside.c_str(), X_OK) == 0 ? beside.string() : kDaemonProgram;
}

std::string ReadAll(int fd) {
  std::string text;
  char chunk[4096];
  while (true) {
    const ssize_t size = ::read(fd, chunk, sizeof(chunk));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return text;
    text.append(chunk, static_cast<std::size_t>(size));
  }
}

absl::Status CannotRun(const std::string& program, absl::string_view reason) {
  return absl::UnimplementedError(
      absl::StrCat("cannot run ", program, ": ", reason, "; name the daemon's program by --daemon"));
}

}  // namespace

absl::StatusOr<std::string> CheckConfig(const std::string& daemon, const std::string& path) {
  const std::string program = daemon.empty() ? FindDaemon() : daemon;
  std::string arguments[] = {program, "--config", path, "--check-config"};
  char* const argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), arguments[3].data(), nullptr};
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) return CannotRun(program, std::strerror(errno));
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDERR_FILENO);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, program.c_str(), &actions, /*attrp=*/nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return CannotRun(program, std::strerror(error));
  write_end.Reset();
  const std::string said(absl::StripAsciiWhitespace(ReadAll(read_end.get())));
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  if (!WIFEXITED(status) || WEXITSTATUS(status) != kDaemonExitUsage) {
    return CannotRun(program, said.empty() ? "it did not end orderly" : said);
  }
  return std::string(absl::StripPrefix(said, absl::StrCat(kDaemonProgram, ": ")));
}

}  // namespace a8a::ctl
