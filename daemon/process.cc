#include "daemon/process.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/failpoint.h"

namespace a8a::daemon {
namespace {

// Counted from the one after the name, which is field 2 and the only one that can hold spaces.
constexpr std::size_t kStartFieldAfterName = 22 - 3;

}  // namespace

std::string ReadProcFile(const std::string& path) {
  const UniqueFd fd(A8A_FAILPOINT("process.open", ::open(path.c_str(), O_RDONLY | O_CLOEXEC)));
  std::array<char, 4096> text = {};
  if (!fd.valid()) return "";
  const ssize_t size = A8A_FAILPOINT("process.read", ::read(fd.get(), text.data(), text.size()));
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

std::uint64_t ProcessStartTicks(std::int32_t pid) {
  const std::string text = ReadProcFile(absl::StrCat("/proc/", pid, "/stat"));
  const std::size_t name_end = text.rfind(") ");
  if (name_end == std::string::npos) return 0;
  const std::vector<absl::string_view> fields = absl::StrSplit(absl::string_view(text).substr(name_end + 2), ' ');
  std::uint64_t ticks = 0;
  if (fields.size() <= kStartFieldAfterName || !absl::SimpleAtoi(fields[kStartFieldAfterName], &ticks)) return 0;
  return ticks;
}

absl::StatusOr<UniqueFd> ReopenProcess(const Identity& identity) {
  if (identity.pid <= 0 || identity.start_ticks == 0) {
    return absl::FailedPreconditionError(absl::StrCat("process ", identity.pid, " cannot be told from others"));
  }
  UniqueFd pidfd(static_cast<int>(A8A_FAILPOINT("process.pidfd_open", ::syscall(SYS_pidfd_open, identity.pid, 0))));
  if (!pidfd.valid() && errno == ESRCH) {
    return absl::NotFoundError(absl::StrCat("process ", identity.pid, " has ended"));
  }
  if (!pidfd.valid() && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
    return absl::ResourceExhaustedError(absl::StrCat("process ", identity.pid, ": ", std::strerror(errno)));
  }
  if (!pidfd.valid()) {
    return absl::FailedPreconditionError(absl::StrCat("process ", identity.pid, ": ", std::strerror(errno)));
  }
  // After the handle was taken: what it reads now is of that process, or of none.
  const std::uint64_t start_ticks = ProcessStartTicks(identity.pid);
  if (start_ticks == identity.start_ticks) return pidfd;
  return absl::NotFoundError(absl::StrCat("process ", identity.pid, " has ended: that of this pid started ",
                                          start_ticks, " ticks after the machine, the session's ",
                                          identity.start_ticks));
}

}  // namespace a8a::daemon
