// Sealed memfds: shared memory whose size nobody can change, so that a mapping of it never faults because a peer cut
// it.
#ifndef A8A_DAEMON_MEMORY_SHARED_MEMORY_H_
#define A8A_DAEMON_MEMORY_SHARED_MEMORY_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/memory/memory_provider.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

// A new memfd of `size_bytes`, close-on-exec, zero, sealed against shrinking, growing and further seals. `memfd_flags`
// are added to memfd_create's (MFD_HUGETLB and a page size). Thread-safe.
//
// Errors: RESOURCE_EXHAUSTED (descriptors or memory), INTERNAL.
[[nodiscard]] absl::StatusOr<UniqueFd> CreateSharedMemory(const std::string& name, std::int64_t size_bytes,
                                                          unsigned memfd_flags);

// The identity of shared memory. `fd` is a memfd.
[[nodiscard]] FileId SharedMemoryId(int fd);

// OK if `fd`, which may be anything, is the sealed memfd that `file` and `size_bytes` were recorded of. Never blocks: a
// descriptor of a file system that its owner does not serve is told before anything is asked of that file system.
//
// Errors: INVALID_ARGUMENT says how it differs.
[[nodiscard]] absl::Status CheckSharedMemory(int fd, std::int64_t size_bytes, FileId file);

// RESOURCE_EXHAUSTED for ENOMEM, ENOSPC, EMFILE and ENFILE, else INTERNAL: `doing`: strerror.
[[nodiscard]] absl::Status MemoryErrnoToStatus(int error, absl::string_view doing);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_MEMORY_SHARED_MEMORY_H_
