// What a launch of an all-to-all needs, for both data planes.
//
// The structures here borrow everything: memory of the group and its windows belongs to whoever mapped it (the client
// library), input and splits to the caller.
#ifndef A8A_KERNELS_INCLUDE_ALL_TO_ALL_H_
#define A8A_KERNELS_INCLUDE_ALL_TO_ALL_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/include/control_layout.h"
#include "kernels/include/flags_layout.h"
#include "kernels/include/limits.h"

namespace a8a::kernels {

// A group as one rank sees it. Valid while its segments are mapped; constant after construction, so any thread may
// read it.
struct GroupView {
  int rank = 0;
  int world_size = 0;
  int channel_count = 0;
  int block_count = 0;
  std::byte* control = nullptr;                      // ControlLayout{world_size, channel_count}
  std::array<std::byte*, kMaxWorldSize> flags = {};  // flags[p]: FlagsLayout, segment of rank p
};

// A window as one rank sees it: base[p], size_bytes[p] is the part of rank p, mapped here.
struct WindowView {
  int window_index = 0;
  std::array<std::byte*, kMaxWorldSize> base = {};
  std::array<std::int64_t, kMaxWorldSize> size_bytes = {};
};

// A 3-D view [outer, inner, row]: flat row q, in [0, outer_size * inner_size), lies at
// (q / inner_size) * outer_stride_bytes + (q % inner_size) * inner_stride_bytes from the start; its row_bytes bytes
// are contiguous. Strides are at least 0 and rows of a view must not overlap each other in an output.
struct RowLayout {
  std::int64_t outer_size = 0;
  std::int64_t inner_size = 0;
  std::int64_t outer_stride_bytes = 0;
  std::int64_t inner_stride_bytes = 0;
  std::int64_t row_bytes = 0;
};

enum class IndexType : std::uint8_t { kInt32, kInt64 };

// Four arrays of world_size integers of `type` each, read when the all-to-all executes. input[p] rows go to rank p,
// output[p] rows come from rank p. Offsets are flat row indices in the views; where an offset array is null, offsets
// are the exclusive prefix sum of the splits. The offset of a split of 0 rows is not looked at.
struct SplitsView {
  const void* input = nullptr;
  const void* output = nullptr;
  const void* input_offsets = nullptr;
  const void* output_offsets = nullptr;
  IndexType type = IndexType::kInt32;
};

// One all-to-all of rank `group->rank`: rows of the input view to the peers' parts of `window`.
struct AllToAllParams {
  const GroupView* group = nullptr;
  const WindowView* window = nullptr;
  int channel = 0;
  const std::byte* input = nullptr;
  RowLayout input_layout;
  std::int64_t output_offset_bytes = 0;  // of the output view in this rank's part of the window
  RowLayout output_layout;
  SplitsView splits;
  std::int64_t timeout_ns = 0;  // for the whole operation on this rank
};

}  // namespace a8a::kernels

#endif  // A8A_KERNELS_INCLUDE_ALL_TO_ALL_H_
