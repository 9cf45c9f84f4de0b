#include "kernels/host/params.h"

#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kernels/base/index.h"
#include "kernels/base/status_macros.h"
#include "kernels/host/row_layout.h"

namespace a8a::kernels::host {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckRange(absl::string_view name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Invalid(name, " ", value, " is not in [", low, ", ", high, "]");
}

absl::Status CheckMappings(const GroupView& group, const WindowView& window) {
  for (int rank = 0; rank < group.world_size; ++rank) {
    if (group.flags[Index(rank)] == nullptr) return Invalid("the flags segment of rank ", rank, " is not mapped");
    if (window.size_bytes[Index(rank)] < 0) {
      return Invalid("window ", window.window_index, ": the part of rank ", rank, " has size_bytes ",
                     window.size_bytes[Index(rank)]);
    }
    if (window.size_bytes[Index(rank)] > 0 && window.base[Index(rank)] == nullptr) {
      return Invalid("window ", window.window_index, ": the part of rank ", rank, " is not mapped");
    }
  }
  return absl::OkStatus();
}

// Sizes, strides and sums of a view, wherever it lies.
absl::Status CheckLayout(absl::string_view name, const RowLayout& layout) {
  if (!IsWellFormed(layout)) {
    return Invalid(name, " view: sizes [", layout.outer_size, ", ", layout.inner_size, "] and strides [",
                   layout.outer_stride_bytes, ", ", layout.inner_stride_bytes, "] must be at least 0, row_bytes ",
                   layout.row_bytes, " at least 1");
  }
  const std::optional<std::int64_t> extent = ExtentBytes(layout);
  if (!RowCount(layout).has_value() || !extent.has_value() || *extent > kMaxBufferBytes) {
    return Invalid(name, " view: sizes [", layout.outer_size, ", ", layout.inner_size, "] with strides [",
                   layout.outer_stride_bytes, ", ", layout.inner_stride_bytes, "] reach beyond ", kMaxBufferBytes,
                   " bytes");
  }
  return absl::OkStatus();
}

absl::Status CheckOutput(const AllToAllParams& params) {
  A8A_RETURN_IF_ERROR(CheckLayout("output", params.output_layout));
  const std::int64_t size_bytes = params.window->size_bytes[Index(params.group->rank)];
  const std::int64_t offset_bytes = params.output_offset_bytes;
  if (offset_bytes < 0 || offset_bytes > size_bytes || *ExtentBytes(params.output_layout) > size_bytes - offset_bytes) {
    return Invalid("output view: ", *ExtentBytes(params.output_layout), " bytes from byte ", offset_bytes,
                   " on are not inside window ", params.window->window_index, " of rank ", params.group->rank,
                   ", which has ", size_bytes);
  }
  if (RowsOverlap(params.output_layout)) {
    return Invalid("output view: rows of ", params.output_layout.row_bytes, " bytes overlap at strides [",
                   params.output_layout.outer_stride_bytes, ", ", params.output_layout.inner_stride_bytes, "]");
  }
  return absl::OkStatus();
}

// Addresses [begin, begin + size).
struct Region {
  std::uintptr_t begin;
  std::uintptr_t size;

  [[nodiscard]] bool Overlaps(const Region& other) const {
    return size > 0 && other.size > 0 &&
           (begin < other.begin ? other.begin - begin < size : begin - other.begin < other.size);
  }
};

Region RegionOf(const std::byte* begin, std::int64_t size_bytes) {
  return {reinterpret_cast<std::uintptr_t>(begin), static_cast<std::uintptr_t>(size_bytes)};
}

}  // namespace

absl::Status CheckGroup(const AllToAllParams& params) {
  if (params.group == nullptr || params.group->control == nullptr) return Invalid("the group is not mapped");
  if (params.window == nullptr) return Invalid("no window is given");
  const GroupView& group = *params.group;
  A8A_RETURN_IF_ERROR(CheckRange("world_size", group.world_size, 1, kMaxWorldSize));
  A8A_RETURN_IF_ERROR(CheckRange("rank", group.rank, 0, group.world_size - 1));
  A8A_RETURN_IF_ERROR(CheckRange("channel_count", group.channel_count, 1, kMaxChannels));
  A8A_RETURN_IF_ERROR(CheckRange("channel", params.channel, 0, group.channel_count - 1));
  A8A_RETURN_IF_ERROR(CheckRange("window index", params.window->window_index, 0, kMaxWindows - 1));
  if (params.timeout_ns < 0) return Invalid("timeout_ns ", params.timeout_ns, " is negative");
  return CheckMappings(group, *params.window);
}

absl::Status CheckViews(const AllToAllParams& params) {
  A8A_RETURN_IF_ERROR(CheckLayout("input", params.input_layout));
  A8A_RETURN_IF_ERROR(CheckOutput(params));
  if (params.input_layout.row_bytes != params.output_layout.row_bytes) {
    return Invalid("row_bytes of the input view, ", params.input_layout.row_bytes, ", and of the output view, ",
                   params.output_layout.row_bytes, ", differ");
  }
  const SplitsView& splits = params.splits;
  if (splits.type != IndexType::kInt32 && splits.type != IndexType::kInt64) {
    return Invalid("splits: unknown type ", static_cast<int>(splits.type));
  }
  if (splits.input == nullptr || splits.output == nullptr) return Invalid("splits: input or output is null");
  return absl::OkStatus();
}

absl::Status CheckInput(const AllToAllParams& params) {
  const std::int64_t extent = *ExtentBytes(params.input_layout);
  if (extent == 0) return absl::OkStatus();
  if (params.input == nullptr) return Invalid("input is null, its view has ", *RowCount(params.input_layout), " rows");
  const Region input = RegionOf(params.input, extent);
  if (input.begin + input.size < input.begin) return Invalid("input view: reaches beyond the address space");
  const WindowView& window = *params.window;
  for (int rank = 0; rank < params.group->world_size; ++rank) {
    const bool own = rank == params.group->rank;
    const Region output =
        own ? RegionOf(window.base[Index(rank)] + params.output_offset_bytes, *ExtentBytes(params.output_layout))
            : RegionOf(window.base[Index(rank)], window.size_bytes[Index(rank)]);
    if (!input.Overlaps(output)) continue;
    return Invalid("input view: overlaps ", own ? "the output view" : absl::StrCat("the part of rank ", rank),
                   " in window ", window.window_index);
  }
  return absl::OkStatus();
}

}  // namespace a8a::kernels::host
