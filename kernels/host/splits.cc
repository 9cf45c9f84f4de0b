#include "kernels/host/splits.h"

#include <algorithm>
#include <cstring>

#include "kernels/host/row_layout.h"

namespace a8a::kernels::host {
namespace {

template <typename T>
std::int64_t ReadAs(const void* array, int index) {
  T value = 0;
  // The array may lie anywhere in a window: no alignment is promised.
  std::memcpy(&value, static_cast<const char*>(array) + sizeof(T) * static_cast<std::size_t>(index), sizeof(T));
  return value;
}

std::int64_t ReadIndex(const void* array, IndexType type, int index) {
  return type == IndexType::kInt32 ? ReadAs<std::int32_t>(array, index) : ReadAs<std::int64_t>(array, index);
}

// One side's arrays, and what they may reach.
struct Side {
  const void* splits;
  const void* offsets;  // null: prefix sums
  IndexType type;
  std::int64_t view_rows;
  Fault beyond;
};

// `next_row` is the prefix sum up to here.
FaultInfo ReadOne(const Side& side, int peer, std::int64_t* next_row, SplitTable* table) {
  const std::int64_t rows = ReadIndex(side.splits, side.type, peer);
  if (rows < 0) return {Fault::kNegativeSplit, /*expected=*/peer, /*actual=*/rows};
  const bool given = side.offsets != nullptr && rows > 0;
  const std::int64_t first_row = given ? ReadIndex(side.offsets, side.type, peer) : *next_row;
  if (first_row < 0) return {Fault::kNegativeSplit, /*expected=*/peer, /*actual=*/first_row};
  std::int64_t end_row = 0;
  if (__builtin_add_overflow(first_row, rows, &end_row)) return {Fault::kSplitOverflow, /*expected=*/peer};
  if (rows > 0 && end_row > side.view_rows) return {side.beyond, /*expected=*/side.view_rows, /*actual=*/end_row};
  table->rows[static_cast<std::size_t>(peer)] = rows;
  table->first_row[static_cast<std::size_t>(peer)] = first_row;
  *next_row = end_row;
  return {};
}

SplitTable ReadSide(const Side& side, int world_size) {
  SplitTable table;
  std::int64_t next_row = 0;
  for (int peer = 0; peer < world_size && table.fault.ok(); ++peer) {
    table.fault = ReadOne(side, peer, &next_row, &table);
  }
  return table;
}

// Two sources whose rows overlap in the output, if there are any.
FaultInfo FindOverlap(const SplitTable& table, int world_size) {
  std::array<int, kMaxWorldSize> sources;
  int count = 0;
  for (int source = 0; source < world_size; ++source) {
    if (table.rows[static_cast<std::size_t>(source)] > 0) sources[static_cast<std::size_t>(count++)] = source;
  }
  const auto first_row = [&](int source) { return table.first_row[static_cast<std::size_t>(source)]; };
  std::sort(sources.begin(), sources.begin() + count, [&](int a, int b) { return first_row(a) < first_row(b); });
  for (std::size_t i = 1; i < static_cast<std::size_t>(count); ++i) {
    const int before = sources[i - 1];
    const int after = sources[i];
    if (first_row(before) + table.rows[static_cast<std::size_t>(before)] > first_row(after)) {
      return {Fault::kOverlappingOutput, std::min(before, after), std::max(before, after)};
    }
  }
  return {};
}

}  // namespace

SplitTable ReadInputSplits(const AllToAllParams& params) {
  const SplitsView& splits = params.splits;
  return ReadSide({.splits = splits.input,
                   .offsets = splits.input_offsets,
                   .type = splits.type,
                   .view_rows = *RowCount(params.input_layout),
                   .beyond = Fault::kBeyondInput},
                  params.group->world_size);
}

SplitTable ReadOutputSplits(const AllToAllParams& params) {
  const SplitsView& splits = params.splits;
  const int world_size = params.group->world_size;
  SplitTable table = ReadSide({.splits = splits.output,
                               .offsets = splits.output_offsets,
                               .type = splits.type,
                               .view_rows = *RowCount(params.output_layout),
                               .beyond = Fault::kBeyondWindow},
                              world_size);
  // Prefix sums cannot overlap.
  if (table.fault.ok() && splits.output_offsets != nullptr) table.fault = FindOverlap(table, world_size);
  return table;
}

}  // namespace a8a::kernels::host
