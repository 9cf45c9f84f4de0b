#include "kernels/host/copy.h"

#include <algorithm>
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

bool NeverGivesUp() { return false; }

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

  EXPECT_TRUE(CopyRows(to.get(), to_layout, to_row, from.get(), from_layout, from_row, rows, NeverGivesUp));

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
  EXPECT_TRUE(CopyRows(nullptr, {.row_bytes = 1}, 0, nullptr, {.row_bytes = 1}, 0, 0, NeverGivesUp));
}

TEST(CopyTest, AsksBeforeTheFirstByteAndThenEveryFewMegabytes) {
  constexpr std::int64_t kRowBytes = kGiveUpBytes / 8 + 1;
  constexpr std::int64_t kRows = 20;  // two and a half of what is copied between two questions
  const auto from = std::make_unique<std::byte[]>(kRowBytes * kRows);
  std::fill_n(from.get(), kRowBytes * kRows, std::byte{1});
  const RowLayout contiguous = {1, kRows, 0, kRowBytes, kRowBytes};
  const RowLayout padded = {1, kRows, 0, kRowBytes + 64, kRowBytes};
  for (const RowLayout& to_layout : {contiguous, padded}) {
    for (const int answers_before_giving_up : {0, 1, 2, 3}) {
      const auto to_size = static_cast<std::size_t>(*ExtentBytes(to_layout));
      const auto to = std::make_unique<std::byte[]>(to_size);
      int asked = 0;

      const bool whole = CopyRows(to.get(), to_layout, 0, from.get(), contiguous, 0, kRows,
                                  [&] { return asked++ == answers_before_giving_up; });

      EXPECT_EQ(whole, answers_before_giving_up == 3);
      EXPECT_EQ(asked, whole ? 3 : answers_before_giving_up + 1);
      const auto copied = std::count(to.get(), to.get() + to_size, std::byte{1});
      EXPECT_EQ(copied, whole ? kRowBytes * kRows : kGiveUpBytes * answers_before_giving_up);
    }
  }
}

}  // namespace
}  // namespace a8a::kernels::host
