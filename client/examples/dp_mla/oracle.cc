#include "client/examples/dp_mla/oracle.h"

#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace a8a::dp_mla {
namespace {

enum class Placement { kTensorParallel, kDataParallel };

Placement InputPlacement(Direction direction) {
  return direction == Direction::kTp2Dp ? Placement::kTensorParallel : Placement::kDataParallel;
}

Placement OutputPlacement(Direction direction) {
  return direction == Direction::kTp2Dp ? Placement::kDataParallel : Placement::kTensorParallel;
}

// Head block `rank` of all tokens, those of group 0 first.
template <typename Visit>
std::int64_t ForEachTensorParallelRow(int rank, absl::Span<const std::int32_t> tokens, const Visit& visit) {
  TensorRow row{.head_block = rank};
  for (const std::int32_t group_tokens : tokens) {
    for (row.token = 0; row.token < group_tokens; ++row.token, ++row.memory_row) visit(row);
    ++row.dp_group;
  }
  return row.memory_row;
}

// The member's head blocks of the tokens of its own group, token by token.
template <typename Visit>
std::int64_t ForEachDataParallelRow(const Shape& shape, int rank, absl::Span<const std::int32_t> tokens,
                                    const Visit& visit) {
  TensorRow row{.dp_group = shape.DpGroup(rank)};
  const int first_block = shape.DpMember(rank) * shape.dp_group_count;
  for (row.token = 0; row.token < tokens[static_cast<std::size_t>(row.dp_group)]; ++row.token) {
    for (int block = 0; block < shape.dp_group_count; ++block, ++row.memory_row) {
      row.head_block = first_block + block;
      visit(row);
    }
  }
  return row.memory_row;
}

// Visits the rows that a rank holds in the order of its memory; returns how many there are.
template <typename Visit>
std::int64_t ForEachRow(const Shape& shape, Placement placement, int rank, absl::Span<const std::int32_t> tokens,
                        const Visit& visit) {
  return placement == Placement::kTensorParallel ? ForEachTensorParallelRow(rank, tokens, visit)
                                                 : ForEachDataParallelRow(shape, rank, tokens, visit);
}

std::int64_t PlacementRows(const Shape& shape, Placement placement) {
  return placement == Placement::kTensorParallel ? shape.total_capacity
                                                 : std::int64_t{shape.group_capacity} * shape.dp_group_count;
}

auto Order(const Mismatch& m) { return std::tie(m.step, m.layer, m.direction, m.rank); }

}  // namespace

Pattern RowPattern(const TensorId& tensor, const TensorRow& row) {
  return Pattern{.base = HashOf({tensor.seed, static_cast<std::uint64_t>(tensor.direction),
                                 static_cast<std::uint64_t>(tensor.step), static_cast<std::uint64_t>(tensor.layer),
                                 static_cast<std::uint64_t>(row.dp_group), static_cast<std::uint64_t>(row.token),
                                 static_cast<std::uint64_t>(row.head_block)})};
}

std::string Describe(const Mismatch& m) {
  const std::string where = absl::StrFormat("step %d, layer %d, %s, rank %d, row %d", m.step, m.layer,
                                            DirectionName(m.direction), m.rank, m.row.memory_row);
  const std::string what = m.in_padding ? "padding, which nothing may write"
                                        : absl::StrFormat("dp group %d, token %d, head block %d", m.row.dp_group,
                                                          m.row.token, m.row.head_block);
  return absl::StrFormat("%s (%s): byte %d is 0x%02x, expected 0x%02x", where, what, m.byte_offset, m.actual,
                         m.expected);
}

bool IsEarlier(const Mismatch& left, const Mismatch& right) { return Order(left) < Order(right); }

std::int64_t Oracle::input_bytes() const { return PlacementRows(shape_, InputPlacement(direction_)) * row_bytes_; }

std::int64_t Oracle::output_bytes() const { return PlacementRows(shape_, OutputPlacement(direction_)) * row_bytes_; }

void Oracle::FillInput(const TensorId& tensor, absl::Span<const std::int32_t> tokens, std::byte* input) const {
  ForEachRow(shape_, InputPlacement(direction_), rank_, tokens, [&](const TensorRow& row) {
    FillPattern(RowPattern(tensor, row), input + row.memory_row * row_bytes_, static_cast<std::size_t>(row_bytes_));
  });
}

Comparison Oracle::CompareOutput(const TensorId& tensor, absl::Span<const std::int32_t> tokens,
                                 absl::Span<const std::byte> output) const {
  Comparison comparison;
  const auto compare = [&](const Pattern& expected, Mismatch place, std::int64_t size_bytes) {
    const std::byte* bytes = output.data() + place.row.memory_row * row_bytes_;
    const std::size_t at = FirstDifference(expected, bytes, static_cast<std::size_t>(size_bytes));
    if (at == static_cast<std::size_t>(size_bytes)) return;
    ++comparison.differing_rows;
    if (comparison.first.has_value()) return;
    place.row.memory_row += static_cast<std::int64_t>(at) / row_bytes_;
    place.byte_offset = static_cast<std::int64_t>(at) % row_bytes_;
    place.expected = std::to_integer<std::uint8_t>(expected.ByteAt(at));
    place.actual = std::to_integer<std::uint8_t>(bytes[at]);
    comparison.first = place;
  };

  Mismatch place{.direction = direction_, .step = tensor.step, .layer = tensor.layer, .rank = rank_, .row = {}};
  comparison.rows = ForEachRow(shape_, OutputPlacement(direction_), rank_, tokens, [&](const TensorRow& row) {
    place.row = row;
    compare(RowPattern(tensor, row), place, row_bytes_);
  });
  place.row = TensorRow{.memory_row = comparison.rows};
  place.in_padding = true;
  compare(kPoison, place, static_cast<std::int64_t>(output.size()) - comparison.rows * row_bytes_);
  return comparison;
}

}  // namespace a8a::dp_mla
