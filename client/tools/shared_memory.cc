#include "client/tools/shared_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace a8a::tools {

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Create(std::size_t size_bytes) {
  UniqueFd fd(::memfd_create("a8a-job", MFD_CLOEXEC));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, "cannot make shared memory for the ranks");
  if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot size shared memory for the ranks to ", size_bytes));
  }
  return Map(std::move(fd), size_bytes);
}

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Open(int fd, std::size_t least_size_bytes) {
  UniqueFd owned(fd);
  struct stat info = {};
  if (::fstat(fd, &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("descriptor ", fd));
  const auto size_bytes = static_cast<std::size_t>(info.st_size);
  if (!S_ISREG(info.st_mode) || size_bytes < least_size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("descriptor ", fd, " is no shared memory of at least ",
                                                   least_size_bytes,
                                                   " bytes; rank processes are started by their "
                                                   "parent, not by hand"));
  }
  return Map(std::move(owned), size_bytes);
}

absl::StatusOr<std::unique_ptr<SharedMemory>> SharedMemory::Map(UniqueFd fd, std::size_t size_bytes) {
  void* data = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return absl::ErrnoToStatus(errno, "cannot map the memory shared with the ranks");
  return std::unique_ptr<SharedMemory>(new SharedMemory(std::move(fd), static_cast<std::byte*>(data), size_bytes));
}

SharedMemory::SharedMemory(UniqueFd fd, std::byte* data, std::size_t size_bytes)
    : fd_(std::move(fd)), data_(data), size_bytes_(size_bytes) {}

SharedMemory::~SharedMemory() { ::munmap(data_, size_bytes_); }

}  // namespace a8a::tools
