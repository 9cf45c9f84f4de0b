// Memory of the daemon, mapped into this process.
#ifndef A8A_CLIENT_SRC_MAPPING_H_
#define A8A_CLIENT_SRC_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/base/unique_fd.h"

namespace a8a::client {

// One mapped segment; destruction unmaps it.
class Mapping {
 public:
  virtual ~Mapping() = default;
  // An address of the device that the memory is mapped for.
  [[nodiscard]] virtual std::byte* data() const = 0;
  [[nodiscard]] virtual std::int64_t size_bytes() const = 0;
};

// Memory that the application keeps mapped itself.
class UnownedMapping final : public Mapping {
 public:
  UnownedMapping(std::byte* data, std::int64_t size_bytes) : data_(data), size_bytes_(size_bytes) {}
  [[nodiscard]] std::byte* data() const override { return data_; }
  [[nodiscard]] std::int64_t size_bytes() const override { return size_bytes_; }

 private:
  std::byte* const data_;
  const std::int64_t size_bytes_;
};

// Maps a memfd, readable and writable, and closes the descriptor. `what` names the segment in messages. A descriptor
// that could shrink under the mapping is refused: touching what is cut off would end this process by SIGBUS.
//
// Errors: RESOURCE_EXHAUSTED (no memory or address space), INTERNAL (the descriptor is not of `size_bytes`, or not
// sealed against shrinking).
[[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> MapHostMemory(UniqueFd fd, std::int64_t size_bytes,
                                                                     absl::string_view what);

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_MAPPING_H_
