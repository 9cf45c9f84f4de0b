#include "daemon/backend.h"

#include <string>
#include <utility>

#include "daemon/log.h"
#include "daemon/memory/host_memory.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

void LogSmallPages(const std::string& reason) {
  LogEvent(LogLevel::kWarning, "huge_pages_refused", {{"device", "host"}, {"reason", reason}});
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<MemoryProvider>>> MakeProviders(const Options& options) {
  if (options.backend == Backend::kCuda) {
    return absl::UnimplementedError("a8a-daemon was built without CUDA; use --backend host or auto");
  }
  // kAuto means the host here, there being nothing else.
  A8A_ASSIGN_OR_RETURN(std::unique_ptr<MemoryProvider> host,
                       HostMemoryProvider::Create({.pool_limit_bytes = options.host_pool_bytes,
                                                   .huge_pages = options.host_huge_pages,
                                                   .prefault = options.host_prefault,
                                                   .numa_node = options.host_numa_node,
                                                   .on_small_pages = &LogSmallPages}));
  std::vector<std::unique_ptr<MemoryProvider>> providers;
  providers.push_back(std::move(host));
  return providers;
}

}  // namespace a8a::daemon
