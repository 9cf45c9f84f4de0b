// The memory providers of a daemon, by --backend.
#ifndef A8A_DAEMON_BACKEND_H_
#define A8A_DAEMON_BACKEND_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/memory/memory_provider.h"
#include "daemon/options.h"

namespace a8a::daemon {

// Errors: UNIMPLEMENTED for a backend that is not built in; those of the providers.
[[nodiscard]] absl::StatusOr<std::vector<std::unique_ptr<MemoryProvider>>> MakeProviders(const Options& options);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_BACKEND_H_
