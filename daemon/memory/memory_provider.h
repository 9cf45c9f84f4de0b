// The seam between the daemon and the memory it leases: one MemoryProvider for each kind of memory, one lease machine
// (daemon/core) above all of them.
//
// Implementations: HostMemoryProvider (host_memory.h) and, in tests, FakeMemoryProvider (tests/fakes). A CUDA provider
// joins here. All methods are thread-safe, may block for as long as the system or driver takes, and are called without
// any lock of the core held.
#ifndef A8A_DAEMON_MEMORY_MEMORY_PROVIDER_H_
#define A8A_DAEMON_MEMORY_MEMORY_PROVIDER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

enum class DeviceKind { kHost, kCuda };

// Constant for the life of the provider.
struct DeviceInfo {
  std::string name;  // "host" or "cuda:ORDINAL"; unique among a daemon's providers
  DeviceKind kind = DeviceKind::kHost;
  std::string uuid;  // "GPU-..."; empty for the host
  std::int64_t granularity_bytes = 0;
  std::int64_t pool_limit_bytes = 0;
};

// Names an open file on this machine until it restarts; zero for descriptors that the system does not tell apart.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  friend bool operator==(const FileId&, const FileId&) = default;
};

// One allocation and the descriptor that shares it. The daemon never maps it. Destruction drops the daemon's reference
// only: pages live on until the last mapping in any process is gone, and are never handed to anyone again.
class Allocation {
 public:
  virtual ~Allocation() = default;
  // The descriptor that clients map, valid for the life of the allocation; duplicated when it is sent.
  [[nodiscard]] virtual int fd() const = 0;
  // A multiple of the device's granularity.
  [[nodiscard]] virtual std::int64_t size_bytes() const = 0;
  // What a descriptor of it is told by when it comes back (MemoryProvider::Adopt).
  [[nodiscard]] virtual FileId file_id() const = 0;
};

class MemoryProvider {
 public:
  virtual ~MemoryProvider() = default;

  [[nodiscard]] virtual const DeviceInfo& device() const = 0;

  // Allocates `size_bytes` (> 0, a multiple of granularity_bytes) of memory that is zero when first seen. `name` is
  // for /proc and debuggers only.
  //
  // Errors: RESOURCE_EXHAUSTED (out of memory, huge pages or descriptors; says which), UNAVAILABLE (the device is
  // gone), INTERNAL (the system failed in a way it should not).
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Allocation>> Allocate(std::int64_t size_bytes,
                                                                             absl::string_view name) = 0;

  // Takes an allocation up again that an earlier daemon made: `size_bytes` and `file` are what it recorded, `fd` is
  // what a client or the service manager hands back, and may be anything. Takes the descriptor if it succeeds.
  //
  // Errors: INVALID_ARGUMENT if `fd` is not that allocation; UNAVAILABLE, INTERNAL as for Allocate.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Allocation>> Adopt(UniqueFd* fd, std::int64_t size_bytes,
                                                                          FileId file) = 0;

  // Proves that the device works: allocates granularity_bytes, shares it through its descriptor, checks that what is
  // written through one mapping is read through the other (where the process can map it), and releases it.
  [[nodiscard]] virtual absl::Status Probe() = 0;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_MEMORY_MEMORY_PROVIDER_H_
