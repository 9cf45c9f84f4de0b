#include "daemon/backend.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "daemon/log.h"
#include "daemon/memory/cuda_memory.h"
#include "daemon/memory/host_memory.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

using Providers = std::vector<std::unique_ptr<MemoryProvider>>;

void LogSmallPages(const std::string& reason) {
  LogEvent(LogLevel::kWarning, "huge_pages_refused", {{"device", "host"}, {"reason", reason}});
}

absl::StatusOr<Providers> MakeCuda(const Options& options) {
  A8A_ASSIGN_OR_RETURN(CudaProviders made, MakeCudaProviders(options.cuda_memory));
  for (const absl::Status& refused : made.refused) {
    LogEvent(LogLevel::kWarning, "device_refused", {{"reason", std::string(refused.message())}});
  }
  return std::move(made.providers);
}

absl::StatusOr<Providers> MakeHost(const Options& options) {
  A8A_ASSIGN_OR_RETURN(std::unique_ptr<MemoryProvider> host,
                       HostMemoryProvider::Create({.pool_limit_bytes = options.host_pool_bytes,
                                                   .huge_pages = options.host_huge_pages,
                                                   .prefault = options.host_prefault,
                                                   .numa_node = options.host_numa_node,
                                                   .on_small_pages = &LogSmallPages}));
  Providers providers;
  providers.push_back(std::move(host));
  return providers;
}

absl::StatusOr<Providers> MakeAuto(const Options& options) {
  absl::StatusOr<Providers> cuda = MakeCuda(options);
  if (cuda.ok() || absl::IsInvalidArgument(cuda.status())) return cuda;
  // A machine without a GPU is nothing to warn of; a GPU that cannot be used is.
  const LogLevel level = absl::IsUnimplemented(cuda.status()) ? LogLevel::kInfo : LogLevel::kWarning;
  LogEvent(level, "host_chosen", {{"reason", std::string(cuda.status().message())}});
  return MakeHost(options);
}

}  // namespace

absl::StatusOr<Providers> MakeProviders(const Options& options) {
  switch (options.backend) {
    case Backend::kAuto:
      return MakeAuto(options);
    case Backend::kHost:
      return MakeHost(options);
    case Backend::kCuda:
      return MakeCuda(options);
  }
  return absl::InternalError("unknown backend");
}

}  // namespace a8a::daemon
