// The split sizes, offsets and views with which one rank calls the all-to-alls of a layer.
//
// Seen from the rank, each all-to-all has a tensor-parallel and a data-parallel side, and the two directions exchange
// their roles of input and output. Rank r on the tensor-parallel side deals with the ranks d * T + r / D, tokens[d]
// rows each; rank d * T + t on the data-parallel side deals with the ranks t * D + j, tokens[d] rows each, j being the
// column. Both describe the same pairs: r = t * D + j says t = r / D and j = r % D.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_SPLITS_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_SPLITS_H_

#include <cstdint>
#include <vector>

#include "a8a/types.h"
#include "absl/types/span.h"
#include "client/examples/dp_mla/shape.h"

namespace a8a::dp_mla {

// Views of one rank; constant for a run.
struct Views {
  View input;
  View output;
};
[[nodiscard]] Views MakeViews(const Shape& shape, Direction direction, std::int64_t row_bytes);

// Split arrays of one rank for both directions. The arrays keep their addresses, as split tensors of a captured graph
// do; Update writes the numbers of another step into them. Not thread-safe.
class SplitArrays {
 public:
  SplitArrays(const Shape& shape, int rank);
  SplitArrays(const SplitArrays&) = delete;
  SplitArrays& operator=(const SplitArrays&) = delete;

  // tokens[d], d in [0, dp_group_count).
  void Update(absl::Span<const std::int32_t> tokens);
  // All arrays, one after the other: a copy elsewhere is given to SplitsAt.
  [[nodiscard]] absl::Span<const std::int32_t> all() const { return arrays_; }
  // The splits of a direction, in a copy of all() at `copy`.
  [[nodiscard]] Splits SplitsAt(const std::int32_t* copy, Direction direction) const;
  // Borrows from this object.
  [[nodiscard]] Splits splits(Direction direction) const { return SplitsAt(arrays_.data(), direction); }

 private:
  const Shape shape_;
  const int rank_;
  // Three arrays of world_size: tp_rows[p], rows exchanged with p on the tensor-parallel side; dp_rows[p], the same on
  // the data-parallel side; dp_offsets[p], first row of p's column in the data-parallel view.
  std::vector<std::int32_t> arrays_;
};

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_SPLITS_H_
