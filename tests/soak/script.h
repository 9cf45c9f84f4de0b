// What the ranks of one life of a group do, turn by turn. Every rank derives it from the same seed, so that none has to
// be told: which blocks a channel runs, how many rows go where, and what is in each row. How a rank lays its own rows
// out in memory is its own choice.
#ifndef A8A_TESTS_SOAK_SCRIPT_H_
#define A8A_TESTS_SOAK_SCRIPT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "a8a/types.h"

namespace a8a::soak {

// SplitMix64: any seed will do, also consecutive ones. [Steele, Lea, Flood 2014]
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t Next();
  // In [0, end).
  std::int64_t Below(std::int64_t end) { return static_cast<std::int64_t>(Next() % static_cast<std::uint64_t>(end)); }

 private:
  std::uint64_t state_;
};

// A few turns of one channel that belong together.
struct Block {
  enum class Kind {
    kOneShot,   // splits of its own in every turn
    kPrepared,  // one plan, or two on both windows in turn
    kRenew,     // new windows in the place of the channel's old ones
  };
  Kind kind = Kind::kOneShot;
  int turns = 1;
  bool alternate = false;  // two plans
};

// Who sends how much to whom: rows[sender * world_size + receiver], each at most pair_rows_max.
struct Shape {
  std::int64_t row_bytes = 0;
  std::int64_t pair_rows_max = 0;
  std::vector<std::int64_t> rows;
};

// How one rank lays out one side of a turn: rows from or for peer p are first_row[p] and following of the view.
struct Layout {
  View view = {};
  std::int64_t offset_bytes = 0;
  std::vector<std::int64_t> first_row;
  bool tells_first_row = false;  // first_row is not the prefix sum

  [[nodiscard]] std::int64_t RowOffsetBytes(int peer, std::int64_t row) const;
};

// Whose row it is; the numbers of a group's channel count its turns.
struct RowName {
  int channel = 0;
  std::int64_t turn = 0;
  int sender = 0;
  int receiver = 0;
  std::int64_t row = 0;
};

class Script {
 public:
  // Shapes and layouts fit windows and inputs of window_bytes.
  Script(std::uint64_t seed, int world_size, std::int64_t window_bytes)
      : seed_(seed), world_size_(world_size), window_bytes_(window_bytes) {}

  [[nodiscard]] int world_size() const { return world_size_; }
  [[nodiscard]] std::int64_t window_bytes() const { return window_bytes_; }

  [[nodiscard]] Block BlockOf(int channel, int index) const;
  [[nodiscard]] Shape ShapeOf(int channel, std::int64_t turn) const;
  // Of `rank`, as sender or as receiver, whose splits are `rows` by peer.
  [[nodiscard]] Layout LayoutOf(const Shape& shape, const std::vector<std::int64_t>& rows, std::uint64_t salt) const;

  void FillRow(const RowName& name, char* row, std::int64_t row_bytes) const;
  // What a row says of itself that should not be where it is; for messages.
  [[nodiscard]] std::string Describe(const char* row, std::int64_t row_bytes) const;

 private:
  [[nodiscard]] Random RandomOf(std::uint64_t what, int channel, std::int64_t number) const;

  const std::uint64_t seed_;
  const int world_size_;
  const std::int64_t window_bytes_;
};

}  // namespace a8a::soak

#endif  // A8A_TESTS_SOAK_SCRIPT_H_
