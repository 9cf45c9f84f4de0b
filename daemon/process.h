// Processes by pid, told apart from later ones of the same pid. Thread-safe.
#ifndef A8A_DAEMON_PROCESS_H_
#define A8A_DAEMON_PROCESS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/core/core.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

// A file of /proc, which has a few hundred bytes; nothing if its process goes away meanwhile (a stream would throw).
[[nodiscard]] std::string ReadProcFile(const std::string& path);

// When the process `pid` started, in clock ticks since the machine did [proc(5), field 22 of /proc/PID/stat]; 0 if that
// cannot be read.
[[nodiscard]] std::uint64_t ProcessStartTicks(std::int32_t pid);

// A handle of the process that `identity` names, if it still runs.
//
// Errors: NOT_FOUND (it has ended), FAILED_PRECONDITION (it cannot be told whether it has: it lies in another PID
// namespace, or its start was not recorded), RESOURCE_EXHAUSTED (descriptors).
[[nodiscard]] absl::StatusOr<UniqueFd> ReopenProcess(const Identity& identity);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_PROCESS_H_
