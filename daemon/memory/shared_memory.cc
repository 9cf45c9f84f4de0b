#include "daemon/memory/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "daemon/failpoint.h"

namespace a8a::daemon {
namespace {

// From Linux 6.3; older kernels refuse it with EINVAL. The memory is data, and says so.
#ifndef MFD_NOEXEC_SEAL
constexpr unsigned MFD_NOEXEC_SEAL = 0x0008U;
#endif

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

int CreateMemfd(const char* name, unsigned flags) {
  const int fd = A8A_FAILPOINT("shared_memory.memfd_create", ::memfd_create(name, flags | MFD_NOEXEC_SEAL));
  if (fd >= 0 || errno != EINVAL) return fd;
  return A8A_FAILPOINT("shared_memory.memfd_create_before_6_3", ::memfd_create(name, flags));
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
  if (A8A_FAILPOINT("shared_memory.ftruncate", ::ftruncate(fd.get(), size_bytes)) != 0) {
    return MemoryErrnoToStatus(errno, absl::StrCat("sizing shared memory to ", size_bytes, " bytes"));
  }
  if (A8A_FAILPOINT("shared_memory.add_seals", ::fcntl(fd.get(), F_ADD_SEALS, kSeals)) != 0) {
    return MemoryErrnoToStatus(errno, "sealing shared memory");
  }
  return fd;
}

FileId SharedMemoryId(int fd) {
  struct stat info = {};
  if (A8A_FAILPOINT("shared_memory.fstat", ::fstat(fd, &info)) != 0) return {};
  return {.device = info.st_dev, .inode = info.st_ino};
}

absl::Status CheckSharedMemory(int fd, std::int64_t size_bytes, FileId file) {
  // First: only memfds have seals, and asking for them asks no file system.
  const int seals = A8A_FAILPOINT("shared_memory.get_seals", ::fcntl(fd, F_GET_SEALS));
  if (seals < 0) return absl::InvalidArgumentError(absl::StrCat("no memfd: ", std::strerror(errno)));
  struct stat info = {};
  if (A8A_FAILPOINT("shared_memory.fstat_to_check", ::fstat(fd, &info)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("fstat: ", std::strerror(errno)));
  }
  if (FileId{info.st_dev, info.st_ino} != file) {
    return absl::InvalidArgumentError(absl::StrCat("another memfd: inode ", info.st_ino, ", expected ", file.inode));
  }
  if ((seals & kSeals) == kSeals && info.st_size == size_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a memfd of ", info.st_size, " bytes with seals ", seals,
                                                 "; expected ", size_bytes, " and ", kSeals));
}

}  // namespace a8a::daemon
