#include "daemon/memory/system_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

constexpr std::int64_t kBytesPerKib = 1024;
constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

// "max", or no file, is no limit.
std::int64_t ReadLimit(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  std::int64_t limit = 0;
  return file >> text && absl::SimpleAtoi(text, &limit) ? limit : kNoLimit;
}

// The lowest limit from `cgroup` up to the root of its hierarchy. In a container the upper part of the path may not be
// visible; what is mounted at the root is then the container's own cgroup.
std::int64_t LowestLimit(const std::string& hierarchy, std::string cgroup, absl::string_view file) {
  std::int64_t lowest = kNoLimit;
  while (true) {
    lowest = std::min(lowest, ReadLimit(absl::StrCat(hierarchy, cgroup, "/", file)));
    const std::size_t slash = cgroup.rfind('/');
    if (slash == std::string::npos) return lowest;
    cgroup.resize(slash);
  }
}

std::int64_t CgroupLimitBytes(const std::string& root) {
  std::int64_t lowest = kNoLimit;
  std::ifstream membership(absl::StrCat(root, "/proc/self/cgroup"));
  for (std::string line; std::getline(membership, line);) {
    // hierarchy-id:controllers:path, "0::path" for v2. [cgroups(7)]
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::vector<absl::string_view> controllers = absl::StrSplit(fields[1], ',');
    if (fields[0] == "0") {
      lowest = std::min(lowest, LowestLimit(root + "/sys/fs/cgroup", fields[2], "memory.max"));
    } else if (std::find(controllers.begin(), controllers.end(), "memory") != controllers.end()) {
      lowest = std::min(lowest, LowestLimit(root + "/sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes"));
    }
  }
  return lowest;
}

}  // namespace

absl::StatusOr<std::int64_t> ReadMeminfo(absl::string_view key, const std::string& root) {
  std::ifstream file(absl::StrCat(root, "/proc/meminfo"));
  for (std::string line; std::getline(file, line);) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    std::int64_t value = 0;
    if (words.size() < 2 || words[0] != absl::StrCat(key, ":") || !absl::SimpleAtoi(words[1], &value)) continue;
    return words.size() > 2 && words[2] == "kB" ? value * kBytesPerKib : value;
  }
  return absl::InternalError(absl::StrCat("/proc/meminfo has no line ", key));
}

absl::StatusOr<std::int64_t> UsableMemoryBytes(const std::string& root) {
  A8A_ASSIGN_OR_RETURN(const std::int64_t total, ReadMeminfo("MemTotal", root));
  return std::min(total, CgroupLimitBytes(root));
}

}  // namespace a8a::daemon
