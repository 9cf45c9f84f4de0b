#include "client/examples/dp_mla/pattern.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace a8a::dp_mla {
namespace {

// A cache line of consecutive words; plain loops over it compile to vector instructions.
using Block = std::array<std::uint64_t, 8>;

Block FirstBlock(const Pattern& pattern) {
  Block block;
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = pattern.base + i * pattern.increment;
  return block;
}

void Advance(const Pattern& pattern, Block* block) {
  for (std::uint64_t& word : *block) word += Block().size() * pattern.increment;
}

bool Equal(const Block& block, const std::byte* bytes) {
  Block seen;
  std::memcpy(seen.data(), bytes, sizeof(seen));
  std::uint64_t difference = 0;
  for (std::size_t i = 0; i < block.size(); ++i) difference |= block[i] ^ seen[i];
  return difference == 0;
}

std::size_t FirstDifferentByte(const Block& block, const std::byte* bytes, std::size_t size_bytes) {
  std::array<std::byte, sizeof(Block)> expected;
  std::memcpy(expected.data(), block.data(), sizeof(block));
  std::size_t at = 0;
  while (at < size_bytes && bytes[at] == expected[at]) ++at;
  return at;
}

// The finalizer of MurmurHash3 (Austin Appleby, public domain): a bijection that spreads every bit over the word.
std::uint64_t Mix(std::uint64_t value) {
  value = (value ^ (value >> 33)) * 0xff51afd7ed558ccd;
  value = (value ^ (value >> 33)) * 0xc4ceb9fe1a85ec53;
  return value ^ (value >> 33);
}

}  // namespace

std::byte Pattern::ByteAt(std::size_t index) const {
  const std::uint64_t word = base + index / sizeof(word) * increment;
  std::array<std::byte, sizeof(word)> bytes;
  std::memcpy(bytes.data(), &word, sizeof(word));
  return bytes[index % sizeof(word)];
}

std::uint64_t HashOf(std::initializer_list<std::uint64_t> values) {
  std::uint64_t hash = 0x6138612d72303177;
  for (const std::uint64_t value : values) hash = Mix(hash * 0x9e3779b97f4a7c15 + value + 1);
  return hash;
}

void FillPattern(const Pattern& pattern, std::byte* bytes, std::size_t size_bytes) {
  Block block = FirstBlock(pattern);
  std::size_t at = 0;
  for (; size_bytes - at >= sizeof(block); at += sizeof(block)) {
    std::memcpy(bytes + at, block.data(), sizeof(block));
    Advance(pattern, &block);
  }
  std::memcpy(bytes + at, block.data(), size_bytes - at);
}

std::size_t FirstDifference(const Pattern& pattern, const std::byte* bytes, std::size_t size_bytes) {
  Block block = FirstBlock(pattern);
  std::size_t at = 0;
  for (; size_bytes - at >= sizeof(block) && Equal(block, bytes + at); at += sizeof(block)) Advance(pattern, &block);
  return at + FirstDifferentByte(block, bytes + at, std::min(sizeof(block), size_bytes - at));
}

}  // namespace a8a::dp_mla
