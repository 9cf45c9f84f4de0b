#include "kernels/host/row_layout.h"

namespace a8a::kernels::host {
namespace {

// Wide enough for a product of two int64.
__extension__ typedef __int128 Wide;  // NOLINT(modernize-use-using): an alias-declaration takes no __extension__

Wide CeilDivide(Wide a, Wide b) { return (a + b - 1) / b; }

// The smallest x >= 0 with low <= step * x mod modulus <= high, or -1. 0 <= low <= high < modulus, 0 <= step < modulus.
// Euclid's algorithm on the interval: where no multiple of `step` lies in [low, high] itself, the answer wraps around
// the modulus so many times, and that number solves the same problem modulo `step`. Counting down from the modulus
// where that takes the smaller steps keeps the depth logarithmic.
Wide FirstMultipleWithin(Wide step, Wide modulus, Wide low, Wide high) {
  if (low == 0) return 0;
  if (step == 0) return -1;
  if (2 * step > modulus) return FirstMultipleWithin(modulus - step, modulus, modulus - high, modulus - low);
  const Wide direct = CeilDivide(low, step);
  if (direct * step <= high) return direct;
  const Wide wraps = FirstMultipleWithin((step - modulus % step) % step, step, low % step, high % step);
  return wraps < 0 ? -1 : CeilDivide(low + wraps * modulus, step);
}

}  // namespace

bool IsWellFormed(const RowLayout& layout) {
  return layout.outer_size >= 0 && layout.inner_size >= 0 && layout.outer_stride_bytes >= 0 &&
         layout.inner_stride_bytes >= 0 && layout.row_bytes >= 1;
}

std::optional<std::int64_t> RowCount(const RowLayout& layout) {
  std::int64_t rows = 0;
  if (__builtin_mul_overflow(layout.outer_size, layout.inner_size, &rows)) return std::nullopt;
  return rows;
}

std::optional<std::int64_t> ExtentBytes(const RowLayout& layout) {
  if (layout.outer_size == 0 || layout.inner_size == 0) return 0;
  std::int64_t outer = 0;
  std::int64_t inner = 0;
  std::int64_t extent = 0;
  if (__builtin_mul_overflow(layout.outer_size - 1, layout.outer_stride_bytes, &outer) ||
      __builtin_mul_overflow(layout.inner_size - 1, layout.inner_stride_bytes, &inner) ||
      __builtin_add_overflow(outer, inner, &extent) || __builtin_add_overflow(extent, layout.row_bytes, &extent)) {
    return std::nullopt;
  }
  return extent;
}

bool RowsOverlap(const RowLayout& layout) {
  const auto [outer_size, inner_size, outer_stride, inner_stride, row_bytes] = layout;
  if (outer_size == 0 || inner_size == 0) return false;
  if (outer_size > 1 && outer_stride < row_bytes) return true;
  if (inner_size > 1 && inner_stride < row_bytes) return true;
  if (outer_size == 1 || inner_size == 1) return false;

  // Two rows are x outer steps forward and y inner steps back from each other, x, y >= 1, and overlap if
  // |x * outer_stride - y * inner_stride| < row_bytes: if x * outer_stride, modulo inner_stride, is in the 2 row_bytes
  // - 1 residues around 0. y grows with x, so the smallest such x decides.
  const Wide step = outer_stride % inner_stride;
  const Wide width = 2 * Wide{row_bytes} - 2;
  // x = x1 + 1, to leave out x = 0.
  const Wide low = (2 * Wide{inner_stride} - row_bytes + 1 - step) % inner_stride;
  const bool at_once = low == 0 || low + width >= inner_stride;  // [low, low + width] has residue 0
  const Wide x1 = at_once ? 0 : FirstMultipleWithin(step, inner_stride, low, low + width);
  if (x1 < 0 || x1 + 1 >= outer_size) return false;
  const Wide distance = (x1 + 1) * outer_stride;
  return (distance - row_bytes) / inner_stride + 1 < inner_size;
}

}  // namespace a8a::kernels::host
