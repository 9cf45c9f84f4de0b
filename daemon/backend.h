// The memory providers of a daemon, by --backend.
#ifndef A8A_DAEMON_BACKEND_H_
#define A8A_DAEMON_BACKEND_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/memory/memory_provider.h"
#include "daemon/options.h"

namespace a8a::daemon {

// kAuto: the CUDA devices where at least one is usable, else the host. Logs devices that are left out, and why kAuto
// took the host where there is a driver.
//
// Errors: those of the providers; kAuto returns INVALID_ARGUMENT of the CUDA options, but no other error of CUDA.
[[nodiscard]] absl::StatusOr<std::vector<std::unique_ptr<MemoryProvider>>> MakeProviders(const Options& options);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_BACKEND_H_
