#include "client/examples/dp_mla/splits.h"

namespace a8a::dp_mla {
namespace {

// [D, group_capacity, row] over memory that is [group_capacity, D, row]: the transpose is in the strides.
View DataParallelView(const Shape& shape, std::int64_t row_bytes) {
  return View{.outer_size = shape.dp_group_count,
              .inner_size = shape.group_capacity,
              .outer_stride_bytes = row_bytes,
              .inner_stride_bytes = shape.dp_group_count * row_bytes,
              .row_bytes = row_bytes};
}

}  // namespace

Views MakeViews(const Shape& shape, Direction direction, std::int64_t row_bytes) {
  const View tp = View::Contiguous(shape.total_capacity, row_bytes);
  const View dp = DataParallelView(shape, row_bytes);
  return direction == Direction::kTp2Dp ? Views{.input = tp, .output = dp} : Views{.input = dp, .output = tp};
}

SplitArrays::SplitArrays(const Shape& shape, int rank)
    : shape_(shape), rank_(rank), arrays_(3 * static_cast<std::size_t>(shape.world_size)) {}

void SplitArrays::Update(absl::Span<const std::int32_t> tokens) {
  const int dp_group_count = shape_.dp_group_count;
  std::int32_t* const tp_rows = arrays_.data();
  std::int32_t* const dp_rows = tp_rows + shape_.world_size;
  std::int32_t* const dp_offsets = dp_rows + shape_.world_size;
  const auto own_tokens = tokens[static_cast<std::size_t>(shape_.DpGroup(rank_))];
  for (int peer = 0; peer < shape_.world_size; ++peer) {
    const bool gets_own_heads = shape_.DpMember(peer) == rank_ / dp_group_count;
    tp_rows[peer] = gets_own_heads ? tokens[static_cast<std::size_t>(shape_.DpGroup(peer))] : 0;
    const bool has_own_column = peer / dp_group_count == shape_.DpMember(rank_);
    dp_rows[peer] = has_own_column ? own_tokens : 0;
    dp_offsets[peer] = has_own_column ? (peer % dp_group_count) * shape_.group_capacity : 0;
  }
}

Splits SplitArrays::SplitsAt(const std::int32_t* copy, Direction direction) const {
  const std::int32_t* const tp_rows = copy;
  const std::int32_t* const dp_rows = tp_rows + shape_.world_size;
  const std::int32_t* const dp_offsets = dp_rows + shape_.world_size;
  // The tensor-parallel side needs no offsets: its rows lie in the order of the ranks they belong to.
  return direction == Direction::kTp2Dp ? Splits::Int32(tp_rows, dp_rows, /*input_offsets=*/nullptr, dp_offsets)
                                        : Splits::Int32(dp_rows, tp_rows, dp_offsets, /*output_offsets=*/nullptr);
}

}  // namespace a8a::dp_mla
