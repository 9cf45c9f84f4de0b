#include "client/examples/dp_mla/pattern.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace a8a::dp_mla {
namespace {

constexpr std::size_t kSizes[] = {0, 1, 7, 8, 9, 63, 64, 65, 77, 100, 128, 1000, 18432};
constexpr std::byte kGuard{0x11};

std::vector<std::byte> Filled(const Pattern& pattern, std::size_t size_bytes) {
  std::vector<std::byte> bytes(size_bytes);
  FillPattern(pattern, bytes.data(), size_bytes);
  return bytes;
}

TEST(PatternTest, WhatIsFilledHasNoDifferenceAtAnySizeAndAlignment) {
  for (const std::size_t size_bytes : kSizes) {
    for (std::size_t shift = 0; shift < 3; ++shift) {
      std::vector<std::byte> bytes(size_bytes + 8, kGuard);
      FillPattern({.base = HashOf({1, size_bytes})}, bytes.data() + shift, size_bytes);

      EXPECT_EQ(FirstDifference({.base = HashOf({1, size_bytes})}, bytes.data() + shift, size_bytes), size_bytes);
      EXPECT_EQ(std::count(bytes.begin() + static_cast<std::ptrdiff_t>(shift + size_bytes), bytes.end(), kGuard),
                static_cast<std::ptrdiff_t>(8 - shift));
    }
  }
}

TEST(PatternTest, EverySingleFlippedBitIsFound) {
  const Pattern pattern{.base = HashOf({2})};
  for (const std::size_t size_bytes : {1, 64, 77, 200}) {
    std::vector<std::byte> bytes = Filled(pattern, static_cast<std::size_t>(size_bytes));
    for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      ASSERT_EQ(FirstDifference(pattern, bytes.data(), bytes.size()), bit / 8);
      bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    }
  }
}

TEST(PatternTest, ByteAtIsTheByteThatIsFilled) {
  const Pattern pattern{.base = HashOf({3})};
  const std::vector<std::byte> bytes = Filled(pattern, 333);

  for (std::size_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(pattern.ByteAt(i), bytes[i]) << i;
}

TEST(PatternTest, ShiftedRowsDiffer) {
  const Pattern pattern{.base = HashOf({4})};
  const std::vector<std::byte> bytes = Filled(pattern, 1024);

  for (std::size_t shift = 1; shift < 512; ++shift) {
    ASSERT_LT(FirstDifference(pattern, bytes.data() + shift, 512), 64u) << "shifted by " << shift;
  }
}

TEST(PatternTest, PoisonIsOneByteThroughout) {
  for (const std::byte byte : Filled(kPoison, 130)) ASSERT_EQ(byte, std::byte{0xdb});
}

TEST(PatternTest, HashDependsOnEveryValueAndTheirOrder) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t a = 0; a < 20; ++a) {
    for (std::uint64_t b = 0; b < 20; ++b) {
      for (std::uint64_t c = 0; c < 20; ++c) seen.insert(HashOf({a, b, c}));
    }
  }

  EXPECT_EQ(seen.size(), 8000u);
}

}  // namespace
}  // namespace a8a::dp_mla
