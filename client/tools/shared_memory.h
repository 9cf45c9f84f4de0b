// Memory that a program shares with the rank processes it starts: a memfd, inherited by number.
//
// The mapping lives as long as the object. What lies in it is up to the user; both sides run the same binary, so that
// plain structs with lock-free atomics will do.
#ifndef A8A_CLIENT_TOOLS_SHARED_MEMORY_H_
#define A8A_CLIENT_TOOLS_SHARED_MEMORY_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/base/unique_fd.h"

namespace a8a::tools {

class SharedMemory {
 public:
  // Zeroed memory. Errors: RESOURCE_EXHAUSTED and the like, as the kernel says.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SharedMemory>> Create(std::size_t size_bytes);
  // Maps what `fd` names, in the process that inherited it. Takes ownership of `fd`.
  // Errors: INVALID_ARGUMENT if fd is no shared memory of at least `least_size_bytes`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SharedMemory>> Open(int fd, std::size_t least_size_bytes);

  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size_bytes() const { return size_bytes_; }
  // Closed by exec unless whoever starts the process clears the flag.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  SharedMemory(UniqueFd fd, std::byte* data, std::size_t size_bytes);
  static absl::StatusOr<std::unique_ptr<SharedMemory>> Map(UniqueFd fd, std::size_t size_bytes);

  const UniqueFd fd_;
  std::byte* const data_;
  const std::size_t size_bytes_;
};

}  // namespace a8a::tools

#endif  // A8A_CLIENT_TOOLS_SHARED_MEMORY_H_
