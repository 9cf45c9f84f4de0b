// Moving rows from one view to another.
#ifndef A8A_KERNELS_HOST_COPY_H_
#define A8A_KERNELS_HOST_COPY_H_

#include <cstddef>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "kernels/include/all_to_all.h"

namespace a8a::kernels::host {

// At least this many bytes are copied between two questions whether to give up. Under a millisecond of one core, and
// more than the size above which memcpy goes past the cache.
inline constexpr std::int64_t kGiveUpBytes = std::int64_t{8} << 20;

// Copies `rows` rows of equal size, from flat row `from_row` of the view at `from` to flat row `to_row` of the view at
// `to`. Requires: both ranges inside their views, views inside memory that do not overlap.
// False: gives_up said so before all were copied. It is asked first, and again every kGiveUpBytes.
[[nodiscard]] bool CopyRows(std::byte* to, const RowLayout& to_layout, std::int64_t to_row, const std::byte* from,
                            const RowLayout& from_layout, std::int64_t from_row, std::int64_t rows,
                            absl::FunctionRef<bool()> gives_up);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_COPY_H_
