// Bytes that are cheap to make and to compare, and different for every row.
//
// Word w of a pattern is base + w * increment (64 bit, wrapping), stored in the byte order of the machine; a last word
// may be cut. The increment is odd and far from 0, so that a row shifted by any number of bytes differs from itself;
// the base is a hash of what the row stands for. One add and one store or compare per word: both run at memory speed.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_PATTERN_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_PATTERN_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace a8a::dp_mla {

struct Pattern {
  std::uint64_t base = 0;
  std::uint64_t increment = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio, odd

  [[nodiscard]] std::byte ByteAt(std::size_t index) const;
};

// Every byte 0xdb: what memory holds before rows arrive, and must go on holding where none do.
inline constexpr Pattern kPoison{.base = 0xdbdbdbdbdbdbdbdb, .increment = 0};

// A hash of the values in their order, every bit of which depends on every bit of them.
[[nodiscard]] std::uint64_t HashOf(std::initializer_list<std::uint64_t> values);

void FillPattern(const Pattern& pattern, std::byte* bytes, std::size_t size_bytes);

// The index of the first byte that differs from the pattern, or size_bytes.
[[nodiscard]] std::size_t FirstDifference(const Pattern& pattern, const std::byte* bytes, std::size_t size_bytes);

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_PATTERN_H_
