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

// memcpy that can be given up, at every kGiveUpBytes of all that it has copied.
class Copier {
 public:
  explicit Copier(absl::FunctionRef<bool()> gives_up) : gives_up_(gives_up) {}

  [[nodiscard]] bool Copy(std::byte* to, const std::byte* from, std::int64_t size_bytes) {
    while (size_bytes > 0) {
      if (left_bytes_ == 0) {
        if (gives_up_()) return false;
        left_bytes_ = kGiveUpBytes;
      }
      const std::int64_t piece_bytes = std::min(size_bytes, left_bytes_);
      std::memcpy(to, from, static_cast<std::size_t>(piece_bytes));
      to += piece_bytes;
      from += piece_bytes;
      size_bytes -= piece_bytes;
      left_bytes_ -= piece_bytes;
    }
    return true;
  }

 private:
  const absl::FunctionRef<bool()> gives_up_;
  std::int64_t left_bytes_ = 0;  // until it asks
};

bool CopyRun(Copier& copier, std::byte* to, std::int64_t to_stride, const std::byte* from, std::int64_t from_stride,
             std::int64_t row_bytes, std::int64_t rows) {
  if (to_stride == row_bytes && from_stride == row_bytes) return copier.Copy(to, from, row_bytes * rows);
  for (std::int64_t row = 0; row < rows; ++row) {
    if (!copier.Copy(to + row * to_stride, from + row * from_stride, row_bytes)) return false;
  }
  return true;
}

}  // namespace

bool CopyRows(std::byte* to, const RowLayout& to_layout, std::int64_t to_row, const std::byte* from,
              const RowLayout& from_layout, std::int64_t from_row, std::int64_t rows,
              absl::FunctionRef<bool()> gives_up) {
  if (rows == 0) return true;
  Copier copier(gives_up);
  Walk to_walk(to_layout, to_row);
  Walk from_walk(from_layout, from_row);
  while (rows > 0) {
    const std::int64_t run = std::min({rows, to_walk.run_rows(), from_walk.run_rows()});
    if (!CopyRun(copier, to + to_walk.offset_bytes(), to_walk.stride_bytes(), from + from_walk.offset_bytes(),
                 from_walk.stride_bytes(), to_layout.row_bytes, run)) {
      return false;
    }
    to_walk.Advance(run);
    from_walk.Advance(run);
    rows -= run;
  }
  return true;
}

}  // namespace a8a::kernels::host
