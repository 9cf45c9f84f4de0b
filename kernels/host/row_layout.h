// Arithmetic on RowLayout that no value can overflow: layouts come from callers and from peers.
#ifndef A8A_KERNELS_HOST_ROW_LAYOUT_H_
#define A8A_KERNELS_HOST_ROW_LAYOUT_H_

#include <cstdint>
#include <optional>

#include "kernels/include/all_to_all.h"

namespace a8a::kernels::host {

// Sizes and strides at least 0, row_bytes at least 1.
[[nodiscard]] bool IsWellFormed(const RowLayout& layout);

// Rows of the view; none if they do not fit int64. Requires IsWellFormed.
[[nodiscard]] std::optional<std::int64_t> RowCount(const RowLayout& layout);

// Bytes from the start of the view to the end of its last row, 0 for a view without rows; none if they do not fit
// int64. Requires IsWellFormed.
[[nodiscard]] std::optional<std::int64_t> ExtentBytes(const RowLayout& layout);

// Whether any two rows of the view share a byte. Exact, in time logarithmic in the strides. Requires IsWellFormed and
// an extent.
[[nodiscard]] bool RowsOverlap(const RowLayout& layout);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_ROW_LAYOUT_H_
