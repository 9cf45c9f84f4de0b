// How much memory there is, as the kernel says in /proc and /sys. Stateless.
#ifndef A8A_DAEMON_MEMORY_SYSTEM_MEMORY_H_
#define A8A_DAEMON_MEMORY_SYSTEM_MEMORY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace a8a::daemon {

// The value of a line of /proc/meminfo, in bytes where the line has a unit. `root` is put before the path.
// Errors: INTERNAL (no such line).
[[nodiscard]] absl::StatusOr<std::int64_t> ReadMeminfo(absl::string_view key, const std::string& root = "");

// The machine's memory, or the lowest limit of the cgroups (v2 or v1) that this process lies in, if that is lower: a
// pool that is larger ends in the out-of-memory killer. `root` is put before the paths.
// Errors: INTERNAL (the machine's memory cannot be read).
[[nodiscard]] absl::StatusOr<std::int64_t> UsableMemoryBytes(const std::string& root = "");

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_MEMORY_SYSTEM_MEMORY_H_
