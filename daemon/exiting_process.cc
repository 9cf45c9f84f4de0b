#include "daemon/exiting_process.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "daemon/process.h"

namespace a8a::daemon {
namespace {

// Of field 9 of /proc/PID/stat; set as the first step of a thread's end. [include/linux/sched.h, do_exit in
// kernel/exit.c]
constexpr unsigned kPfExiting = 0x4;
// Where that field lies behind the parenthesis that ends the name.
constexpr std::size_t kFlagsIndex = 6;

// As this process's /proc numbers it, whatever its PID namespace; below 1 if it has been reaped or is not shown there.
int PidOf(int pidfd) {
  int pid = 0;
  for (absl::string_view line : absl::StrSplit(ReadProcFile(absl::StrCat("/proc/self/fdinfo/", pidfd)), '\n')) {
    if (absl::ConsumePrefix(&line, "Pid:")) static_cast<void>(absl::SimpleAtoi(line, &pid));
  }
  return pid;
}

// Nothing if they cannot be listed.
std::optional<std::set<std::string>> ThreadsOf(const std::string& process) {
  std::set<std::string> threads;
  std::error_code error;
  std::filesystem::directory_iterator entry(absl::StrCat(process, "/task"), error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    threads.insert(entry->path().filename());
    entry.increment(error);
  }
  if (error || threads.empty()) return std::nullopt;
  return threads;
}

// A thread that is gone is not running either.
bool MayRun(const std::string& process, const std::string& thread) {
  const std::string stat = ReadProcFile(absl::StrCat(process, "/task/", thread, "/stat"));
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return false;
  const std::vector<std::string> fields = absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
  unsigned flags = 0;
  return fields.size() <= kFlagsIndex || !absl::SimpleAtoi(fields[kFlagsIndex], &flags) || (flags & kPfExiting) == 0;
}

}  // namespace

bool IsExiting(int pidfd) {
  const int pid = PidOf(pidfd);
  if (pid < 1) return false;
  const std::string process = absl::StrCat("/proc/", pid);
  const auto threads = ThreadsOf(process);
  if (!threads.has_value()) return false;
  if (std::any_of(threads->begin(), threads->end(), [&](const auto& thread) { return MayRun(process, thread); })) {
    return false;
  }
  // A thread that ends makes no other: who was not there at first was made before the last look at its maker.
  const auto again = ThreadsOf(process);
  if (!again.has_value()) return false;
  const bool same = std::includes(threads->begin(), threads->end(), again->begin(), again->end());
  // The number was this process's all the while if it is still.
  return same && PidOf(pidfd) == pid;
}

}  // namespace a8a::daemon
