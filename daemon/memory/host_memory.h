// The host memory provider: shared memory of the machine (sealed memfds), for machines without a GPU.
//
// Pages are zero, and by default allocated when first touched; prefault and both kinds of huge pages allocate them at
// once, so that a machine that is short of memory says so when a buffer is leased and not by SIGBUS later.
// Thread-safe: constant after construction.
#ifndef A8A_DAEMON_MEMORY_HOST_MEMORY_H_
#define A8A_DAEMON_MEMORY_HOST_MEMORY_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/memory/memory_provider.h"

namespace a8a::daemon {

enum class HugePages {
  kOff,
  kTransparent,  // 2 MiB pages collapsed at allocation; small pages where the kernel declines
  kHugetlb,      // from the machine's reserved huge pages; RESOURCE_EXHAUSTED when there are none left
};

struct HostMemoryOptions {
  // 0: half of the machine's memory, or of the cgroup's limit where that is lower.
  std::int64_t pool_limit_bytes = 0;
  HugePages huge_pages = HugePages::kOff;
  bool prefault = false;
  // The NUMA node that all pages come from; -1: the kernel decides.
  int numa_node = -1;
  // Called, from any thread, the first time that kTransparent gets small pages, with the kernel's reason. May be null.
  std::function<void(const std::string& reason)> on_small_pages = nullptr;
};

class HostMemoryProvider final : public MemoryProvider {
 public:
  // Errors: INVALID_ARGUMENT (no such NUMA node, or it has no memory), FAILED_PRECONDITION (the kernel has no huge
  // pages, or may not bind to nodes), INTERNAL (the machine's memory cannot be read).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HostMemoryProvider>> Create(const HostMemoryOptions& options);

  [[nodiscard]] const DeviceInfo& device() const override { return device_; }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Allocation>> Allocate(std::int64_t size_bytes,
                                                                     absl::string_view name) override;
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Allocation>> Adopt(UniqueFd* fd, std::int64_t size_bytes,
                                                                  FileId file) override;
  [[nodiscard]] absl::Status Probe() override;

 private:
  HostMemoryProvider(const HostMemoryOptions& options, DeviceInfo device);

  // Binds, allocates and collapses pages as the options ask, through a mapping that lives only here.
  [[nodiscard]] absl::Status Prepare(int fd, std::int64_t size_bytes);
  void ReportSmallPages(int error);

  const HostMemoryOptions options_;
  const DeviceInfo device_;
  std::atomic<bool> small_pages_reported_ = false;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_MEMORY_HOST_MEMORY_H_
