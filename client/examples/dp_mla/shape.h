// How the ranks of a DP-MLA model share heads and tokens.
//
// With W = world_size ranks and D = dp_group_count data-parallel groups (D divides W), each group has T = W / D ranks:
// rank d * T + t is member t of group d. The heads come in W blocks. Two placements exist:
//
//   tensor-parallel  rank r holds head block r of all tokens, those of group 0 first
//   data-parallel    rank d * T + t holds head blocks [t * D, (t + 1) * D) of the tokens of group d
//
// tp2dp turns the first into the second, dp2tp turns it back.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_SHAPE_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_SHAPE_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace a8a::dp_mla {

// In the order in which a layer runs them. Values index arrays.
enum class Direction : std::uint8_t { kTp2Dp = 0, kDp2Tp = 1 };
inline constexpr int kDirectionCount = 2;
inline constexpr Direction kDirections[kDirectionCount] = {Direction::kTp2Dp, Direction::kDp2Tp};

constexpr absl::string_view DirectionName(Direction direction) {
  return direction == Direction::kTp2Dp ? "tp2dp" : "dp2tp";
}

struct Shape {
  int world_size = 1;
  int dp_group_count = 1;
  // Rows that each view has room for, constant for a run as the shapes of a captured graph are: tokens of one group,
  // and of all groups together. Always more than there are tokens, so that there is padding to look after.
  std::int32_t group_capacity = 0;
  std::int32_t total_capacity = 0;

  [[nodiscard]] constexpr int ranks_per_dp_group() const { return world_size / dp_group_count; }
  [[nodiscard]] constexpr int DpGroup(int rank) const { return rank / ranks_per_dp_group(); }
  [[nodiscard]] constexpr int DpMember(int rank) const { return rank % ranks_per_dp_group(); }
};

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_SHAPE_H_
