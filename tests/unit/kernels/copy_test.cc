#include "kernels/host/copy.h"

#include <memory>

#include "gtest/gtest.h"
#include "kernels/host/row_layout.h"
#include "tests/unit/kernels/random_case.h"

namespace a8a::kernels::host {
namespace {

// The layouts that a run-by-run copy can confuse: one row an outer step, one outer step, dense, padded, transposed.
constexpr RowLayout kLayouts[] = {
    {1, 24, 0, 3, 3}, {24, 1, 3, 0, 3}, {24, 1, 5, 99, 3}, {4, 6, 18, 3, 3}, {4, 6, 25, 3, 3},
    {4, 6, 40, 6, 3}, {6, 4, 3, 18, 3}, {6, 4, 4, 30, 3},  {2, 12, 3, 7, 3}, {1, 24, 77, 4, 3},
};

std::int64_t Position(const RowLayout& layout, std::int64_t row) {
  return row / layout.inner_size * layout.outer_stride_bytes + row % layout.inner_size * layout.inner_stride_bytes;
}

void ExpectCopy(const RowLayout& to_layout, const RowLayout& from_layout, std::int64_t to_row, std::int64_t from_row,
                std::int64_t rows) {
  // Exact sizes: AddressSanitizer sees a byte too far.
  const auto to_size = static_cast<std::size_t>(*ExtentBytes(to_layout));
  const auto from_size = static_cast<std::size_t>(*ExtentBytes(from_layout));
  const auto to = std::make_unique<std::byte[]>(to_size);
  const auto from = std::make_unique<std::byte[]>(from_size);
  std::vector<std::byte> expected(to_size);
  for (std::size_t i = 0; i < from_size; ++i) from[i] = test::InputByte(0, 0, static_cast<std::int64_t>(i));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t byte = 0; byte < to_layout.row_bytes; ++byte) {
      expected[static_cast<std::size_t>(Position(to_layout, to_row + i) + byte)] =
          from[static_cast<std::size_t>(Position(from_layout, from_row + i) + byte)];
    }
  }

  CopyRows(to.get(), to_layout, to_row, from.get(), from_layout, from_row, rows);

  EXPECT_EQ(test::FirstDifference({to.get(), to_size}, expected), "")
      << "rows " << rows << " from " << from_row << " to " << to_row;
}

TEST(CopyTest, MovesRowsBetweenAnyTwoLayouts) {
  for (const RowLayout& to_layout : kLayouts) {
    for (const RowLayout& from_layout : kLayouts) {
      for (const std::int64_t rows : {0, 1, 5, 7, 17, 24}) {
        ExpectCopy(to_layout, from_layout, 0, 24 - rows, rows);
        ExpectCopy(to_layout, from_layout, 24 - rows, 0, rows);
        ExpectCopy(to_layout, from_layout, (24 - rows) / 2, (24 - rows) / 3, rows);
      }
    }
  }
}

TEST(CopyTest, NothingToMoveTouchesNoPointer) {
  CopyRows(nullptr, {.row_bytes = 1}, 0, nullptr, {.row_bytes = 1}, 0, 0);
}

}  // namespace
}  // namespace a8a::kernels::host
