#include "kernels/host/copy.h"

#include <algorithm>
#include <cstring>

namespace a8a::kernels::host {
namespace {

// Walks a view from a flat row on, in runs of rows at one stride. A view with one inner row per outer step, or whose
// outer steps continue its inner ones, is a single run.
class Walk {
 public:
  Walk(const RowLayout& layout, std::int64_t row) : layout_(layout) {
    if (layout.inner_size == 1) {
      layout_.inner_size = layout.outer_size;
      layout_.inner_stride_bytes = layout.outer_stride_bytes;
    } else if (layout.outer_stride_bytes == layout.inner_size * layout.inner_stride_bytes) {
      layout_.inner_size *= layout.outer_size;
    }
    inner_ = row % layout_.inner_size;
    outer_offset_bytes_ = row / layout_.inner_size * layout_.outer_stride_bytes;
  }

  [[nodiscard]] std::int64_t offset_bytes() const { return outer_offset_bytes_ + inner_ * layout_.inner_stride_bytes; }
  [[nodiscard]] std::int64_t run_rows() const { return layout_.inner_size - inner_; }
  [[nodiscard]] std::int64_t stride_bytes() const { return layout_.inner_stride_bytes; }

  // Requires rows <= run_rows().
  void Advance(std::int64_t rows) {
    inner_ += rows;
    if (inner_ < layout_.inner_size) return;
    inner_ = 0;
    outer_offset_bytes_ += layout_.outer_stride_bytes;
  }

 private:
  RowLayout layout_;
  std::int64_t inner_;
  std::int64_t outer_offset_bytes_;
};

void CopyRun(std::byte* to, std::int64_t to_stride, const std::byte* from, std::int64_t from_stride,
             std::int64_t row_bytes, std::int64_t rows) {
  if (to_stride == row_bytes && from_stride == row_bytes) {
    std::memcpy(to, from, static_cast<std::size_t>(row_bytes * rows));
    return;
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    std::memcpy(to + row * to_stride, from + row * from_stride, static_cast<std::size_t>(row_bytes));
  }
}

}  // namespace

void CopyRows(std::byte* to, const RowLayout& to_layout, std::int64_t to_row, const std::byte* from,
              const RowLayout& from_layout, std::int64_t from_row, std::int64_t rows) {
  if (rows == 0) return;
  Walk to_walk(to_layout, to_row);
  Walk from_walk(from_layout, from_row);
  while (rows > 0) {
    const std::int64_t run = std::min({rows, to_walk.run_rows(), from_walk.run_rows()});
    CopyRun(to + to_walk.offset_bytes(), to_walk.stride_bytes(), from + from_walk.offset_bytes(),
            from_walk.stride_bytes(), to_layout.row_bytes, run);
    to_walk.Advance(run);
    from_walk.Advance(run);
    rows -= run;
  }
}

}  // namespace a8a::kernels::host
