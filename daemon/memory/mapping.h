// A temporary read-write mapping of shared memory in this process. Not thread-safe; unmaps in its destructor.
#ifndef A8A_DAEMON_MEMORY_MAPPING_H_
#define A8A_DAEMON_MEMORY_MAPPING_H_

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "daemon/memory/shared_memory.h"

namespace a8a::daemon {

class Mapping {
 public:
  [[nodiscard]] static absl::StatusOr<Mapping> Map(int fd, std::int64_t size_bytes) {
    const auto size = static_cast<std::size_t>(size_bytes);
    void* base = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return MemoryErrnoToStatus(errno, absl::StrCat("mapping ", size_bytes, " bytes"));
    return Mapping(base, size);
  }

  Mapping(Mapping&& other) noexcept : base_(std::exchange(other.base_, nullptr)), size_(other.size_) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (base_ != nullptr) ::munmap(base_, size_);
  }

  [[nodiscard]] void* base() const { return base_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  Mapping(void* base, std::size_t size) : base_(base), size_(size) {}

  void* base_;
  std::size_t size_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_MEMORY_MAPPING_H_
