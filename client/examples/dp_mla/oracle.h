// What every byte must be, from the meaning of the two placements (shape.h) and nothing else.
//
// There is one tensor for each direction, step and layer: a row of bytes for every (dp group, token, head block). A
// placement says which of those rows a rank holds, and in what order. Inputs are filled according to one placement and
// outputs are compared according to the other; splits, offsets, senders and receivers do not occur. So an error in
// the split arithmetic, in a view or in a data plane cannot hide here.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_ORACLE_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_ORACLE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "client/examples/dp_mla/pattern.h"
#include "client/examples/dp_mla/shape.h"

namespace a8a::dp_mla {

// Names one tensor.
struct TensorId {
  std::uint64_t seed = 0;
  Direction direction = Direction::kTp2Dp;
  std::int64_t step = 0;
  std::int32_t layer = 0;
};

// Names one row of it, and where a rank keeps it: the row_bytes bytes from memory_row * row_bytes on.
struct TensorRow {
  std::int64_t memory_row = 0;
  std::int32_t dp_group = 0;
  std::int64_t token = 0;  // within the group
  std::int32_t head_block = 0;
};

// The contents of a row.
[[nodiscard]] Pattern RowPattern(const TensorId& tensor, const TensorRow& row);

// The first byte of an output that is not what it must be. Plain data: it travels through shared memory.
struct Mismatch {
  Direction direction = Direction::kTp2Dp;
  std::int64_t step = 0;
  std::int32_t layer = 0;
  std::int32_t rank = 0;
  // Nothing may be written there: there are fewer rows than room. `row` then only gives the place.
  bool in_padding = false;
  TensorRow row;
  std::int64_t byte_offset = 0;  // within the row
  std::uint8_t expected = 0;
  std::uint8_t actual = 0;
};
[[nodiscard]] std::string Describe(const Mismatch& mismatch);
// Earlier in the run; at the same all-to-all, the lower rank.
[[nodiscard]] bool IsEarlier(const Mismatch& left, const Mismatch& right);

// What a comparison found.
struct Comparison {
  std::int64_t rows = 0;            // compared
  std::int64_t differing_rows = 0;  // a damaged padding counts as one
  std::optional<Mismatch> first;
};

// One rank's share of the tensors of one direction. Constant after construction.
class Oracle {
 public:
  Oracle(const Shape& shape, int rank, Direction direction, std::int64_t row_bytes)
      : shape_(shape), rank_(rank), direction_(direction), row_bytes_(row_bytes) {}

  // Bytes of input and of output that the placements address at full capacity.
  [[nodiscard]] std::int64_t input_bytes() const;
  [[nodiscard]] std::int64_t output_bytes() const;

  // Writes the rows that this rank holds before the all-to-all; tokens[d], d in [0, dp_group_count).
  void FillInput(const TensorId& tensor, absl::Span<const std::int32_t> tokens, std::byte* input) const;

  // Compares the rows that this rank must hold after it, and checks that the rest of `output` is still kPoison.
  [[nodiscard]] Comparison CompareOutput(const TensorId& tensor, absl::Span<const std::int32_t> tokens,
                                         absl::Span<const std::byte> output) const;

 private:
  const Shape shape_;
  const int rank_;
  const Direction direction_;
  const std::int64_t row_bytes_;
};

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_ORACLE_H_
