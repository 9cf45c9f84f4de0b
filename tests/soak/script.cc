#include "tests/soak/script.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace a8a::soak {
namespace {

constexpr std::int64_t kRowBytes[] = {1, 16, 60, 64, 256, 1000, 1024, 4096, 65536};
// A renewal costs two rounds of registrations with the daemon, a turn none.
constexpr int kBlocksPerRenewal = 60;
constexpr int kTurnsMax = 12;

constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;
constexpr std::uint64_t kSpread = 0xbf58476d1ce4e5b9;  // odd, so that it has an inverse

constexpr std::uint64_t InverseOf(std::uint64_t odd) {
  std::uint64_t inverse = odd;  // right in 3 bits; each round of Newton's doubles that
  for (int round = 0; round < 5; ++round) inverse *= 2 - odd * inverse;
  return inverse;
}
static_assert(kSpread * InverseOf(kSpread) == 1);

// turn 28 bits, channel 6, sender 6, receiver 6, row 18.
std::uint64_t Pack(const RowName& name) {
  return static_cast<std::uint64_t>(name.turn) << 36 | static_cast<std::uint64_t>(name.channel) << 30 |
         static_cast<std::uint64_t>(name.sender) << 24 | static_cast<std::uint64_t>(name.receiver) << 18 |
         static_cast<std::uint64_t>(name.row);
}

enum class Splits { kZero, kFull, kOneReceiver, kOneSender, kFew, kAny };

std::int64_t SplitOf(Splits splits, int sender, int receiver, int chosen, std::int64_t rows_max, Random* random) {
  switch (splits) {
    case Splits::kZero:
      return 0;
    case Splits::kFull:
      return rows_max;
    case Splits::kOneReceiver:
      return receiver == chosen ? rows_max : 0;
    case Splits::kOneSender:
      return sender == chosen ? rows_max : 0;
    case Splits::kFew:
      return random->Below(3) == 0 ? random->Below(std::min<std::int64_t>(rows_max, 3) + 1) : 0;
    case Splits::kAny:
      break;
  }
  return random->Below(rows_max + 1);
}

// [outer, inner] = [1, rows], with gaps between the rows or without.
View RowsView(std::int64_t rows, std::int64_t row_bytes, std::int64_t stride_bytes) {
  return {.outer_size = 1,
          .inner_size = rows,
          .outer_stride_bytes = rows * stride_bytes,
          .inner_stride_bytes = stride_bytes,
          .row_bytes = row_bytes};
}

// [peer, row] of a memory whose order is [row, peer].
View TransposedView(int world_size, std::int64_t rows, std::int64_t row_bytes) {
  return {.outer_size = world_size,
          .inner_size = rows,
          .outer_stride_bytes = row_bytes,
          .inner_stride_bytes = world_size * row_bytes,
          .row_bytes = row_bytes};
}

}  // namespace

std::uint64_t Random::Next() {
  state_ += kStep;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * kSpread;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::int64_t Layout::RowOffsetBytes(int peer, std::int64_t row) const {
  const std::int64_t q = first_row[static_cast<std::size_t>(peer)] + row;
  return offset_bytes + q / view.inner_size * view.outer_stride_bytes + q % view.inner_size * view.inner_stride_bytes;
}

Random Script::RandomOf(std::uint64_t what, int channel, std::int64_t number) const {
  Random random(seed_ ^ what << 56 ^ static_cast<std::uint64_t>(channel) << 48 ^ static_cast<std::uint64_t>(number));
  return Random(random.Next());
}

Block Script::BlockOf(int channel, int index) const {
  Random random = RandomOf(1, channel, index);
  if (random.Below(kBlocksPerRenewal) == 0) return {.kind = Block::Kind::kRenew};
  const auto kind = random.Below(2) == 0 ? Block::Kind::kOneShot : Block::Kind::kPrepared;
  const int turns = 1 + static_cast<int>(random.Below(kTurnsMax));
  return {.kind = kind, .turns = turns, .alternate = random.Below(3) > 0};
}

// A quarter of the window for all rows, so that any layout below fits: twice the rows with gaps, in its second half.
Shape Script::ShapeOf(int channel, std::int64_t turn) const {
  Random random = RandomOf(2, channel, turn);
  Shape shape;
  const std::int64_t pair_bytes_max = window_bytes_ / 4 / world_size_;
  shape.row_bytes = std::min(kRowBytes[random.Below(std::size(kRowBytes))], pair_bytes_max);
  shape.pair_rows_max = pair_bytes_max / shape.row_bytes;
  // Small rows are many, and each costs a copy of its own where they have gaps.
  shape.pair_rows_max = std::min<std::int64_t>(shape.pair_rows_max, 200);
  const auto splits = static_cast<Splits>(random.Below(6));
  const auto chosen = static_cast<int>(random.Below(world_size_));
  for (int sender = 0; sender < world_size_; ++sender) {
    for (int receiver = 0; receiver < world_size_; ++receiver) {
      shape.rows.push_back(SplitOf(splits, sender, receiver, chosen, shape.pair_rows_max, &random));
    }
  }
  return shape;
}

Layout Script::LayoutOf(const Shape& shape, const std::vector<std::int64_t>& rows, std::uint64_t salt) const {
  Random random(seed_ ^ salt);
  Layout layout;
  layout.first_row.resize(rows.size());
  layout.offset_bytes = random.Below(window_bytes_ / 2);
  const std::int64_t rows_max = shape.pair_rows_max;
  const std::int64_t gap_bytes = random.Below(2) == 0 ? 0 : random.Below(shape.row_bytes + 1);
  layout.view = RowsView(world_size_ * rows_max, shape.row_bytes, shape.row_bytes + gap_bytes);
  if (random.Below(2) == 0) {
    std::exclusive_scan(rows.begin(), rows.end(), layout.first_row.begin(), std::int64_t{0});
    return layout;
  }
  // A place for each peer, in some order.
  layout.tells_first_row = true;
  const std::int64_t turned = random.Below(world_size_);
  for (int peer = 0; peer < world_size_; ++peer) {
    layout.first_row[static_cast<std::size_t>(peer)] = (peer + turned) % world_size_ * rows_max;
  }
  if (random.Below(2) == 0) layout.view = TransposedView(world_size_, rows_max, shape.row_bytes);
  return layout;
}

void Script::FillRow(const RowName& name, char* row, std::int64_t row_bytes) const {
  std::uint64_t word = (Pack(name) ^ seed_) * kSpread;
  for (std::int64_t at = 0; at < row_bytes; at += 8, word += kStep) {
    std::memcpy(row + at, &word, static_cast<std::size_t>(std::min<std::int64_t>(8, row_bytes - at)));
  }
}

std::string Script::Describe(const char* row, std::int64_t row_bytes) const {
  std::uint64_t word = 0;
  if (row_bytes < 8) return "too short to say what it is";
  std::memcpy(&word, row, sizeof(word));
  if (word == 0) return "zero";
  const std::uint64_t packed = (word * InverseOf(kSpread)) ^ seed_;
  return absl::StrCat("if a row, of turn ", packed >> 36, ", channel ", packed >> 30 & 63, ", from rank ",
                      packed >> 24 & 63, " to rank ", packed >> 18 & 63, ", row ", packed & 0x3ffff);
}

}  // namespace a8a::soak
