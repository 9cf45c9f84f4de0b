// A temporary read-write mapping of shared memory in this process. Not thread-safe; unmaps in its destructor.
#ifndef A8A_DAEMON_MEMORY_MAPPING_H_
#define A8A_DAEMON_MEMORY_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace a8a::daemon {

class Mapping {
 public:
  // `alignment_bytes` is a power of two; pages of that size and less can be mapped by one entry. Errors:
  // RESOURCE_EXHAUSTED (address space or huge pages), INTERNAL.
  [[nodiscard]] static absl::StatusOr<Mapping> Map(int fd, std::int64_t size_bytes, std::int64_t alignment_bytes = 1);

  Mapping(Mapping&& other) noexcept : base_(std::exchange(other.base_, nullptr)), size_(other.size_) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping();

  [[nodiscard]] void* base() const { return base_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  Mapping(void* base, std::size_t size) : base_(base), size_(size) {}

  void* base_;
  std::size_t size_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_MEMORY_MAPPING_H_
