#include "tests/unit/kernels/random_case.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace a8a::kernels::test {
namespace {

constexpr std::int64_t kRowBytes[] = {1, 2, 3, 4, 7, 8, 15, 16, 33, 64, 100, 576, 1021};

template <typename T>
const T& Pick(Random& random, std::span<const T> choices) {
  return choices[static_cast<std::size_t>(Uniform(random, 0, static_cast<std::int64_t>(choices.size()) - 1))];
}

bool Chance(Random& random, int percent) { return Uniform(random, 1, 100) <= percent; }

// rows[s][d], in one of the shapes that have broken such code before.
std::vector<std::vector<std::int64_t>> RandomSplits(Random& random, std::size_t world_size) {
  std::vector<std::vector<std::int64_t>> rows(world_size, std::vector<std::int64_t>(world_size));
  const std::int64_t most = world_size > 16 ? 3 : 12;
  enum { kDense, kSparse, kOneHot, kToOne, kFromOne, kNothing, kShapeCount };
  const auto shape = Uniform(random, 0, kShapeCount - 1);
  const auto chosen = static_cast<std::size_t>(Uniform(random, 0, static_cast<std::int64_t>(world_size) - 1));
  for (std::size_t s = 0; s < world_size; ++s) {
    for (std::size_t d = 0; d < world_size; ++d) {
      const bool used = shape == kDense || (shape == kSparse && Chance(random, 25)) ||
                        (shape == kToOne && d == chosen) || (shape == kFromOne && s == chosen) ||
                        (shape == kOneHot && d == (s + chosen) % world_size);
      if (used) rows[s][d] = Uniform(random, 0, most);
    }
  }
  return rows;
}

// A view of at least `rows` rows, dense, padded or transposed.
RowLayout RandomLayout(Random& random, std::int64_t rows, std::int64_t row_bytes) {
  RowLayout layout{.row_bytes = row_bytes};
  if (rows == 0 && Chance(random, 50)) return layout;
  const std::int64_t major = Uniform(random, 1, std::max<std::int64_t>(rows, 1));
  const std::int64_t minor = std::max<std::int64_t>((rows + major - 1) / major, 1);
  const bool padded = Chance(random, 50);
  const std::int64_t small_stride = row_bytes + (padded ? Uniform(random, 0, 2 * row_bytes) : 0);
  const std::int64_t large_stride = small_stride * minor + (padded ? Uniform(random, 0, 40) : 0);
  if (Chance(random, 50)) return {major, minor, large_stride, small_stride, row_bytes};
  return {minor, major, small_stride, large_stride, row_bytes};
}

std::int64_t ExtentOf(const RowLayout& layout) {
  if (layout.outer_size == 0 || layout.inner_size == 0) return 0;
  return (layout.outer_size - 1) * layout.outer_stride_bytes + (layout.inner_size - 1) * layout.inner_stride_bytes +
         layout.row_bytes;
}

std::int64_t Sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

// The splits' ranges in a random order, with gaps that use up to `spare` rows more than their sum.
std::vector<std::int64_t> RandomOffsets(Random& random, const std::vector<std::int64_t>& splits, std::int64_t spare) {
  std::vector<std::size_t> order(splits.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  std::vector<std::int64_t> offsets(splits.size());
  std::int64_t next = 0;
  for (const std::size_t rank : order) {
    const std::int64_t gap = Uniform(random, 0, spare);
    spare -= gap;
    next += gap;
    // The offset of an empty split is not looked at.
    offsets[rank] = splits[rank] == 0 ? -7 : next;
    next += splits[rank];
  }
  return offsets;
}

// One side's view and offsets, for its splits.
void RandomSide(Random& random, const std::vector<std::int64_t>& splits, std::int64_t row_bytes, RowLayout* layout,
                std::vector<std::int64_t>* offsets) {
  const std::int64_t rows = Sum(splits);
  const std::int64_t spare = Chance(random, 50) ? Uniform(random, 0, 10) : 0;
  *layout = RandomLayout(random, rows + spare, row_bytes);
  if (Chance(random, 50)) *offsets = RandomOffsets(random, splits, layout->outer_size * layout->inner_size - rows);
}

}  // namespace

std::uint64_t TestSeed() {
  const char* seed = std::getenv("A8A_TEST_SEED");
  return seed != nullptr ? std::strtoull(seed, nullptr, 0) : std::random_device()();
}

std::int64_t Uniform(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

IndexArray::IndexArray(const std::vector<std::int64_t>& values, IndexType type, std::size_t misalign_bytes)
    : misalign_bytes_(misalign_bytes) {
  if (values.empty()) return;
  const std::size_t width = type == IndexType::kInt32 ? sizeof(std::int32_t) : sizeof(std::int64_t);
  bytes_.resize(misalign_bytes + values.size() * width);
  for (std::size_t i = 0; i < values.size(); ++i) {
    // Little-endian: the low half is the int32.
    std::memcpy(bytes_.data() + misalign_bytes + i * width, &values[i], width);
  }
}

const void* IndexArray::data() const { return bytes_.empty() ? nullptr : bytes_.data() + misalign_bytes_; }

std::vector<std::int64_t> Case::WindowSizes() const {
  std::vector<std::int64_t> sizes;
  for (const RankCase& rank : ranks) sizes.push_back(rank.window_bytes);
  return sizes;
}

Case MakeRandomCase(Random& random, int world_size) {
  const auto size = static_cast<std::size_t>(world_size);
  const auto rows = RandomSplits(random, size);
  const std::int64_t row_bytes = Pick<std::int64_t>(random, kRowBytes);
  Case a_case;
  for (std::size_t rank = 0; rank < size; ++rank) {
    RankCase& mine = a_case.ranks.emplace_back();
    mine.input_splits = rows[rank];
    for (std::size_t source = 0; source < size; ++source) mine.output_splits.push_back(rows[source][rank]);
    RandomSide(random, mine.input_splits, row_bytes, &mine.input_layout, &mine.input_offsets);
    RandomSide(random, mine.output_splits, row_bytes, &mine.output_layout, &mine.output_offsets);
    mine.output_offset_bytes = Uniform(random, 0, 70);
    mine.window_bytes = mine.output_offset_bytes + ExtentOf(mine.output_layout) + Uniform(random, 0, 70);
    mine.index_type = Chance(random, 50) ? IndexType::kInt32 : IndexType::kInt64;
    mine.misalign_bytes = static_cast<std::size_t>(Uniform(random, 0, 7));
  }
  return a_case;
}

Case MakeDenseCase(const std::vector<std::vector<std::int64_t>>& rows, std::int64_t row_bytes) {
  Case a_case;
  for (std::size_t rank = 0; rank < rows.size(); ++rank) {
    RankCase& mine = a_case.ranks.emplace_back();
    mine.input_splits = rows[rank];
    for (const auto& of_source : rows) mine.output_splits.push_back(of_source[rank]);
    mine.input_layout = {1, Sum(mine.input_splits), 0, row_bytes, row_bytes};
    mine.output_layout = {1, Sum(mine.output_splits), 0, row_bytes, row_bytes};
    mine.window_bytes = ExtentOf(mine.output_layout);
  }
  return a_case;
}

std::byte InputByte(int rank, int round, std::int64_t position) {
  // Any mixing will do that makes neighbours, ranks and rounds differ. [Steele et al., SplitMix64]
  std::uint64_t x = static_cast<std::uint64_t>(position) + static_cast<std::uint64_t>(rank) * 0x9e3779b97f4a7c15u +
                    static_cast<std::uint64_t>(round) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return static_cast<std::byte>(x >> 40);
}

Launch::Launch(const RankCase& rank_case, const GroupView& group, int channel)
    : case_(rank_case), group_(group), channel_(channel) {
  arrays_[0] = IndexArray(case_.input_splits, case_.index_type, case_.misalign_bytes);
  arrays_[1] = IndexArray(case_.output_splits, case_.index_type);
  arrays_[2] = IndexArray(case_.input_offsets, case_.index_type);
  arrays_[3] = IndexArray(case_.output_offsets, case_.index_type, case_.misalign_bytes);
  storage_ =
      std::make_unique<std::byte[]>(case_.misalign_bytes + static_cast<std::size_t>(ExtentOf(case_.input_layout)));
}

const std::byte* Launch::FillInput(int round) {
  std::byte* input = storage_.get() + case_.misalign_bytes;
  for (std::int64_t i = 0; i < ExtentOf(case_.input_layout); ++i) input[i] = InputByte(group_.rank, round, i);
  return input;
}

AllToAllParams Launch::Params(const WindowView& window) const {
  return {.group = &group_,
          .window = &window,
          .channel = channel_,
          .input = storage_.get() + case_.misalign_bytes,
          .input_layout = case_.input_layout,
          .output_offset_bytes = case_.output_offset_bytes,
          .output_layout = case_.output_layout,
          .splits = {.input = arrays_[0].data(),
                     .output = arrays_[1].data(),
                     .input_offsets = arrays_[2].data(),
                     .output_offsets = arrays_[3].data(),
                     .type = case_.index_type},
          .timeout_ns = kLongTimeoutNs};
}

std::vector<std::vector<std::byte>> Expected(const Case& a_case, int round,
                                             std::vector<std::vector<reference::PairVerdict>>* verdicts) {
  std::vector<std::vector<std::byte>> inputs;
  std::vector<std::vector<std::byte>> outputs;
  for (int rank = 0; rank < a_case.world_size(); ++rank) {
    const RankCase& mine = a_case.ranks[static_cast<std::size_t>(rank)];
    std::vector<std::byte>& input = inputs.emplace_back();
    for (std::int64_t i = 0; i < ExtentOf(mine.input_layout); ++i) input.push_back(InputByte(rank, round, i));
    outputs.emplace_back(static_cast<std::size_t>(mine.window_bytes), kPoison);
  }
  std::vector<reference::RankData> data;
  for (std::size_t rank = 0; rank < inputs.size(); ++rank) {
    const RankCase& mine = a_case.ranks[rank];
    data.push_back({.input = inputs[rank],
                    .input_layout = mine.input_layout,
                    .input_splits = mine.input_splits,
                    .input_offsets = mine.input_offsets,
                    .output = outputs[rank],
                    .output_offset_bytes = mine.output_offset_bytes,
                    .output_layout = mine.output_layout,
                    .output_splits = mine.output_splits,
                    .output_offsets = mine.output_offsets});
  }
  auto found = reference::AllToAll(data);
  if (verdicts != nullptr) *verdicts = std::move(found);
  return outputs;
}

std::string FirstDifference(std::span<const std::byte> actual, std::span<const std::byte> expected) {
  if (actual.size() != expected.size()) return absl::StrCat("sizes ", actual.size(), " and ", expected.size());
  const auto [at, want] = std::mismatch(actual.begin(), actual.end(), expected.begin());
  if (at == actual.end()) return "";
  return absl::StrCat("byte ", at - actual.begin(), " is ", static_cast<int>(*at), ", expected ",
                      static_cast<int>(*want));
}

}  // namespace a8a::kernels::test
