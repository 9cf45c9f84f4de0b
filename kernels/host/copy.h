// Moving rows from one view to another.
#ifndef A8A_KERNELS_HOST_COPY_H_
#define A8A_KERNELS_HOST_COPY_H_

#include <cstddef>
#include <cstdint>

#include "kernels/include/all_to_all.h"

namespace a8a::kernels::host {

// Copies `rows` rows of equal size, from flat row `from_row` of the view at `from` to flat row `to_row` of the view at
// `to`. Requires: both ranges inside their views, views inside memory that do not overlap.
void CopyRows(std::byte* to, const RowLayout& to_layout, std::int64_t to_row, const std::byte* from,
              const RowLayout& from_layout, std::int64_t from_row, std::int64_t rows);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_COPY_H_
