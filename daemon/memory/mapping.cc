#include "daemon/memory/mapping.h"

#include <sys/mman.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "daemon/failpoint.h"
#include "daemon/memory/shared_memory.h"

namespace a8a::daemon {
namespace {

// Address space for `size` bytes at a multiple of `alignment`, with nothing behind it; MAP_FAILED if there is none. The
// kernel aligns mappings of shared memory to huge pages only where shmem_enabled says so.
void* ReserveAligned(std::size_t size, std::size_t alignment) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* start = A8A_FAILPOINT("mapping.reserve", ::mmap(nullptr, size + alignment, PROT_NONE, kFlags, -1, 0));
  if (start == MAP_FAILED) return MAP_FAILED;
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const std::size_t head = (alignment - address % alignment) % alignment;
  auto* const base = static_cast<std::byte*>(start) + head;
  if (head != 0) ::munmap(start, head);
  ::munmap(base + size, alignment - head);
  return base;
}

}  // namespace

absl::StatusOr<Mapping> Mapping::Map(int fd, std::int64_t size_bytes, std::int64_t alignment_bytes) {
  const auto size = static_cast<std::size_t>(size_bytes);
  void* reserved = nullptr;
  if (alignment_bytes > 1) reserved = ReserveAligned(size, static_cast<std::size_t>(alignment_bytes));
  void* base = MAP_FAILED;
  if (reserved != MAP_FAILED) {
    const int fixed = reserved != nullptr ? MAP_FIXED : 0;
    base = A8A_FAILPOINT("mapping.map", ::mmap(reserved, size, PROT_READ | PROT_WRITE, MAP_SHARED | fixed, fd, 0));
  }
  if (base != MAP_FAILED) return Mapping(base, size);
  const int error = errno;
  if (reserved != nullptr && reserved != MAP_FAILED) ::munmap(reserved, size);
  return MemoryErrnoToStatus(error, absl::StrCat("mapping ", size_bytes, " bytes"));
}

Mapping::~Mapping() {
  if (base_ != nullptr) ::munmap(base_, size_);
}

}  // namespace a8a::daemon
