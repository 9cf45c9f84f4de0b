// The oracle against a plain all-to-all: rows are moved as splits.h says, one by one, and the oracle must agree. Then
// everything that can go wrong with them must be found.
#include "client/examples/dp_mla/oracle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/examples/dp_mla/splits.h"
#include "kernels/include/limits.h"

namespace a8a::dp_mla {
namespace {

using ::testing::HasSubstr;

constexpr std::uint32_t kSeed = 7;
constexpr std::int64_t kRowBytes = 11;

using Bytes = std::vector<std::byte>;

std::int64_t RowOffset(const View& view, std::int64_t q) {
  return q / view.inner_size * view.outer_stride_bytes + q % view.inner_size * view.inner_stride_bytes;
}

// First row of each peer: the offsets given, or the prefix sum.
std::vector<std::int64_t> FirstRows(const void* rows, const void* offsets, int world_size) {
  std::vector<std::int64_t> first(static_cast<std::size_t>(world_size));
  std::int64_t sum = 0;
  for (int p = 0; p < world_size; ++p) {
    first[static_cast<std::size_t>(p)] = offsets == nullptr ? sum : static_cast<const std::int32_t*>(offsets)[p];
    sum += static_cast<const std::int32_t*>(rows)[p];
  }
  return first;
}

// All ranks of one all-to-all in one process.
class Exchange {
 public:
  Exchange(const Shape& shape, Direction direction, const std::vector<std::int32_t>& tokens)
      : shape_(shape), tensor_{.seed = 5, .direction = direction, .step = 3, .layer = 1}, tokens_(tokens) {
    for (int rank = 0; rank < shape.world_size; ++rank) {
      oracles_.emplace_back(shape, rank, direction, kRowBytes);
      splits_.push_back(std::make_unique<SplitArrays>(shape, rank));
      splits_.back()->Update(tokens_);
      inputs_.emplace_back(static_cast<std::size_t>(oracles_.back().input_bytes()));
      oracles_.back().FillInput(tensor_, tokens_, inputs_.back().data());
      outputs_.emplace_back(static_cast<std::size_t>(oracles_.back().output_bytes()) + 5);
      FillPattern(kPoison, outputs_.back().data(), outputs_.back().size());
    }
  }

  void Run() {
    for (int sender = 0; sender < shape_.world_size; ++sender) {
      for (int receiver = 0; receiver < shape_.world_size; ++receiver) Move(sender, receiver);
    }
  }

  [[nodiscard]] Comparison Compare(int rank) const {
    return oracles_[static_cast<std::size_t>(rank)].CompareOutput(tensor_, tokens_, output(rank));
  }
  [[nodiscard]] const Bytes& output(int rank) const { return outputs_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] Bytes& output(int rank) { return outputs_[static_cast<std::size_t>(rank)]; }

 private:
  void Move(int sender, int receiver) {
    const auto s = static_cast<std::size_t>(sender);
    const auto r = static_cast<std::size_t>(receiver);
    const Splits from = splits_[s]->splits(tensor_.direction);
    const Splits to = splits_[r]->splits(tensor_.direction);
    const Views views = MakeViews(shape_, tensor_.direction, kRowBytes);
    const std::int64_t source = FirstRows(from.input, from.input_offsets, shape_.world_size)[r];
    const std::int64_t target = FirstRows(to.output, to.output_offsets, shape_.world_size)[s];
    for (std::int64_t i = 0; i < static_cast<const std::int32_t*>(from.input)[receiver]; ++i) {
      std::memcpy(outputs_[r].data() + RowOffset(views.output, target + i),
                  inputs_[s].data() + RowOffset(views.input, source + i), kRowBytes);
    }
  }

  const Shape shape_;
  const TensorId tensor_;
  const std::vector<std::int32_t> tokens_;
  std::vector<Oracle> oracles_;
  std::vector<std::unique_ptr<SplitArrays>> splits_;
  std::vector<Bytes> inputs_;
  std::vector<Bytes> outputs_;
};

Shape ShapeOf(int world_size, int dp_group_count) {
  return {.world_size = world_size,
          .dp_group_count = dp_group_count,
          .group_capacity = 6,
          .total_capacity = 6 * dp_group_count};
}

TEST(OracleTest, AgreesWithAPlainAllToAllForAllShapes) {
  std::mt19937 random(kSeed);
  std::uniform_int_distribution<std::int32_t> any_tokens(0, 5);
  for (int world_size = 1; world_size <= kMaxWorldSize; ++world_size) {
    for (int dp = 1; dp <= world_size; ++dp) {
      if (world_size % dp != 0) continue;
      std::vector<std::int32_t> tokens;
      for (int d = 0; d < dp; ++d) tokens.push_back(any_tokens(random));
      for (const Direction direction : kDirections) {
        SCOPED_TRACE(absl::StrCat("world_size ", world_size, ", dp ", dp, ", seed ", kSeed));
        Exchange exchange(ShapeOf(world_size, dp), direction, tokens);

        exchange.Run();

        std::int64_t rows = 0;
        for (int rank = 0; rank < world_size; ++rank) {
          const Comparison comparison = exchange.Compare(rank);
          ASSERT_FALSE(comparison.first.has_value()) << Describe(*comparison.first);
          rows += comparison.rows;
        }
        ASSERT_EQ(rows, std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0}) * world_size);
      }
    }
  }
}

TEST(OracleTest, RowsThatNeverArriveAreFound) {
  Exchange exchange(ShapeOf(4, 2), Direction::kTp2Dp, {2, 3});

  const Comparison comparison = exchange.Compare(2);

  EXPECT_EQ(comparison.rows, 6);
  EXPECT_EQ(comparison.differing_rows, 6);
  ASSERT_TRUE(comparison.first.has_value());
  EXPECT_EQ(comparison.first->row.memory_row, 0);
  EXPECT_EQ(comparison.first->actual, 0xdb);
}

TEST(OracleTest, ExchangedRowsAreFound) {
  Exchange exchange(ShapeOf(4, 2), Direction::kTp2Dp, {2, 3});
  exchange.Run();
  Bytes& output = exchange.output(1);
  std::swap_ranges(output.begin(), output.begin() + kRowBytes, output.begin() + kRowBytes);

  const Comparison comparison = exchange.Compare(1);

  EXPECT_EQ(comparison.differing_rows, 2);
}

TEST(OracleTest, EveryByteOfTheOutputCounts) {
  for (const Direction direction : kDirections) {
    Exchange exchange(ShapeOf(4, 2), direction, {2, 3});
    exchange.Run();
    Bytes& output = exchange.output(3);
    for (std::size_t at = 0; at < output.size(); ++at) {
      output[at] ^= std::byte{0x40};
      const Comparison comparison = exchange.Compare(3);
      ASSERT_EQ(comparison.differing_rows, 1) << "byte " << at;
      ASSERT_EQ(comparison.first->row.memory_row * kRowBytes + comparison.first->byte_offset,
                static_cast<std::int64_t>(at));
      ASSERT_EQ(comparison.first->in_padding, static_cast<std::int64_t>(at) >= comparison.rows * kRowBytes);
      ASSERT_EQ(comparison.first->expected ^ comparison.first->actual, 0x40);
      output[at] ^= std::byte{0x40};
    }
  }
}

TEST(OracleTest, TensorsOfOtherStepsLayersSeedsAndDirectionsDiffer) {
  const TensorRow row{.memory_row = 0, .dp_group = 1, .token = 2, .head_block = 3};
  const TensorId tensor{.seed = 1, .direction = Direction::kTp2Dp, .step = 2, .layer = 3};
  const std::uint64_t base = RowPattern(tensor, row).base;

  for (const TensorId& other : {TensorId{2, Direction::kTp2Dp, 2, 3}, TensorId{1, Direction::kDp2Tp, 2, 3},
                                TensorId{1, Direction::kTp2Dp, 3, 3}, TensorId{1, Direction::kTp2Dp, 2, 4}}) {
    EXPECT_NE(RowPattern(other, row).base, base);
  }
  for (const TensorRow& other : {TensorRow{0, 2, 2, 3}, TensorRow{0, 1, 3, 3}, TensorRow{0, 1, 2, 4}}) {
    EXPECT_NE(RowPattern(tensor, other).base, base);
  }
}

TEST(OracleTest, MismatchNamesPlaceAndBytes) {
  const Mismatch mismatch{.direction = Direction::kDp2Tp,
                          .step = 12,
                          .layer = 1,
                          .rank = 3,
                          .row = {.memory_row = 57, .dp_group = 2, .token = 7, .head_block = 3},
                          .byte_offset = 38,
                          .expected = 0xa5,
                          .actual = 0x0a};

  EXPECT_EQ(Describe(mismatch),
            "step 12, layer 1, dp2tp, rank 3, row 57 (dp group 2, token 7, head block 3): byte 38 is 0x0a, expected "
            "0xa5");
}

TEST(OracleTest, MismatchesAreOrderedByPlaceInTheRun) {
  const Mismatch base{.direction = Direction::kTp2Dp, .step = 2, .layer = 1, .rank = 3, .row = {}};
  Mismatch later_direction = base;
  later_direction.direction = Direction::kDp2Tp;
  later_direction.rank = 0;
  Mismatch lower_rank = base;
  lower_rank.rank = 2;

  EXPECT_TRUE(IsEarlier(base, later_direction));
  EXPECT_TRUE(IsEarlier(lower_rank, base));
  EXPECT_FALSE(IsEarlier(base, base));
}

}  // namespace
}  // namespace a8a::dp_mla
