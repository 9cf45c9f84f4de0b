// The bytes of one run of a fuzz target, taken apart from the front. Past their end every number is 0 and every piece
// empty, so that each input means something and a cut one means nearly the same.
#ifndef A8A_TESTS_FUZZ_INPUT_H_
#define A8A_TESTS_FUZZ_INPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace a8a::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : left_(reinterpret_cast<const char*>(data), size) {}

  [[nodiscard]] bool empty() const { return left_.empty(); }

  std::uint8_t Byte() {
    const absl::string_view byte = Take(1);
    return byte.empty() ? std::uint8_t{0} : static_cast<std::uint8_t>(byte[0]);
  }

  // A length of one byte and then as many bytes; length 255 stands for all that is left.
  absl::string_view Piece() {
    const std::size_t size = Byte();
    return Take(size == 255 ? left_.size() : size);
  }

 private:
  absl::string_view Take(std::size_t size) {
    const absl::string_view taken = left_.substr(0, size);
    left_.remove_prefix(taken.size());
    return taken;
  }

  absl::string_view left_;
};

}  // namespace a8a::fuzz

#endif  // A8A_TESTS_FUZZ_INPUT_H_
