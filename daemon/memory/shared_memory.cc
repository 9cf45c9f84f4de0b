#include "daemon/memory/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace a8a::daemon {
namespace {

// From Linux 6.3; older kernels refuse it with EINVAL. The memory is data, and says so.
#ifndef MFD_NOEXEC_SEAL
constexpr unsigned MFD_NOEXEC_SEAL = 0x0008U;
#endif

int CreateMemfd(const char* name, unsigned flags) {
  const int fd = ::memfd_create(name, flags | MFD_NOEXEC_SEAL);
  if (fd >= 0 || errno != EINVAL) return fd;
  return ::memfd_create(name, flags);
}

}  // namespace

absl::Status MemoryErrnoToStatus(int error, absl::string_view doing) {
  const std::string message = absl::StrCat(doing, ": ", std::strerror(error));
  switch (error) {
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<UniqueFd> CreateSharedMemory(const std::string& name, std::int64_t size_bytes, unsigned memfd_flags) {
  UniqueFd fd(CreateMemfd(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_flags));
  if (!fd.valid()) return MemoryErrnoToStatus(errno, absl::StrCat("memfd_create of ", size_bytes, " bytes"));
  if (::ftruncate(fd.get(), size_bytes) != 0) {
    return MemoryErrnoToStatus(errno, absl::StrCat("sizing shared memory to ", size_bytes, " bytes"));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return MemoryErrnoToStatus(errno, "sealing shared memory");
  }
  return fd;
}

}  // namespace a8a::daemon
