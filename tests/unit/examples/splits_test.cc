#include "client/examples/dp_mla/splits.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/include/limits.h"

namespace a8a::dp_mla {
namespace {

constexpr std::uint32_t kSplitSeed = 20260101;
constexpr std::int32_t kMostTokens = 9;

struct Case {
  Shape shape;
  std::vector<std::int32_t> tokens;
  std::vector<std::unique_ptr<SplitArrays>> ranks;

  [[nodiscard]] const std::int32_t* Array(int rank, Direction direction, const void* Splits::*member) const {
    return static_cast<const std::int32_t*>(ranks[static_cast<std::size_t>(rank)]->splits(direction).*member);
  }
};

Case MakeCase(int world_size, int dp_group_count, std::mt19937* random) {
  Case c;
  std::uniform_int_distribution<std::int32_t> any_tokens(0, kMostTokens);
  for (int d = 0; d < dp_group_count; ++d) c.tokens.push_back(any_tokens(*random));
  c.shape = {.world_size = world_size,
             .dp_group_count = dp_group_count,
             .group_capacity = kMostTokens + 1,
             .total_capacity = kMostTokens * dp_group_count + 1};
  for (int rank = 0; rank < world_size; ++rank) {
    c.ranks.push_back(std::make_unique<SplitArrays>(c.shape, rank));
    c.ranks.back()->Update(c.tokens);
  }
  return c;
}

// Calls `check(case)` for every world size and every number of groups that divides it.
template <typename Check>
void ForAllShapes(const Check& check) {
  std::mt19937 random(kSplitSeed);
  for (int world_size = 1; world_size <= kMaxWorldSize; ++world_size) {
    for (int dp = 1; dp <= world_size; ++dp) {
      if (world_size % dp != 0) continue;
      SCOPED_TRACE(absl::StrCat("world_size ", world_size, ", dp ", dp, ", seed ", kSplitSeed));
      check(MakeCase(world_size, dp, &random));
    }
  }
}

TEST(SplitsTest, WhatOneRankSendsIsWhatTheOtherExpects) {
  ForAllShapes([](const Case& c) {
    for (const Direction direction : kDirections) {
      for (int sender = 0; sender < c.shape.world_size; ++sender) {
        for (int receiver = 0; receiver < c.shape.world_size; ++receiver) {
          ASSERT_EQ(c.Array(sender, direction, &Splits::input)[receiver],
                    c.Array(receiver, direction, &Splits::output)[sender])
              << DirectionName(direction) << " from " << sender << " to " << receiver;
        }
      }
    }
  });
}

TEST(SplitsTest, SenderGivesEveryRowOfTheTokensExactlyOnce) {
  ForAllShapes([](const Case& c) {
    const std::int32_t all_tokens = std::accumulate(c.tokens.begin(), c.tokens.end(), 0);
    const int dp = c.shape.dp_group_count;
    for (int rank = 0; rank < c.shape.world_size; ++rank) {
      const std::int32_t* tp2dp = c.Array(rank, Direction::kTp2Dp, &Splits::input);
      const std::int32_t* dp2tp = c.Array(rank, Direction::kDp2Tp, &Splits::input);
      ASSERT_EQ(std::accumulate(tp2dp, tp2dp + c.shape.world_size, 0), all_tokens);
      ASSERT_EQ(std::accumulate(dp2tp, dp2tp + c.shape.world_size, 0),
                c.tokens[static_cast<std::size_t>(c.shape.DpGroup(rank))] * dp);
    }
  });
}

// The formulas of the design, with W, D, T, d, t and j as it names them.
TEST(SplitsTest, PairsAreThoseOfTheDesign) {
  ForAllShapes([](const Case& c) {
    const int W = c.shape.world_size;
    const int D = c.shape.dp_group_count;
    const int T = W / D;
    for (int r = 0; r < W; ++r) {
      std::vector<std::int32_t> expected(static_cast<std::size_t>(W), 0);
      for (int d = 0; d < D; ++d)
        expected[static_cast<std::size_t>(d * T + r / D)] = c.tokens[static_cast<std::size_t>(d)];
      const std::int32_t* input = c.Array(r, Direction::kTp2Dp, &Splits::input);
      ASSERT_EQ(std::vector<std::int32_t>(input, input + W), expected) << "sender " << r;
    }
    for (int d = 0; d < D; ++d) {
      for (int t = 0; t < T; ++t) {
        std::vector<std::int32_t> expected(static_cast<std::size_t>(W), 0);
        for (int j = 0; j < D; ++j)
          expected[static_cast<std::size_t>(t * D + j)] = c.tokens[static_cast<std::size_t>(d)];
        const std::int32_t* output = c.Array(d * T + t, Direction::kTp2Dp, &Splits::output);
        ASSERT_EQ(std::vector<std::int32_t>(output, output + W), expected) << "receiver " << d * T + t;
      }
    }
  });
}

TEST(SplitsTest, ColumnsOfTheDataParallelViewAreFilledOnceEach) {
  ForAllShapes([](const Case& c) {
    for (int rank = 0; rank < c.shape.world_size; ++rank) {
      const std::int32_t* rows = c.Array(rank, Direction::kTp2Dp, &Splits::output);
      const std::int32_t* offsets = c.Array(rank, Direction::kTp2Dp, &Splits::output_offsets);
      std::vector<int> writers(static_cast<std::size_t>(c.shape.dp_group_count * c.shape.group_capacity), 0);
      for (int peer = 0; peer < c.shape.world_size; ++peer) {
        for (int i = 0; i < rows[peer]; ++i) ++writers[static_cast<std::size_t>(offsets[peer] + i)];
      }
      for (std::size_t q = 0; q < writers.size(); ++q) {
        const bool is_token = static_cast<std::int32_t>(q) % c.shape.group_capacity <
                              c.tokens[static_cast<std::size_t>(c.shape.DpGroup(rank))];
        ASSERT_EQ(writers[q], is_token ? 1 : 0) << "rank " << rank << ", row " << q;
      }
    }
  });
}

TEST(SplitsTest, DirectionsExchangeInputAndOutput) {
  ForAllShapes([](const Case& c) {
    const Views there = MakeViews(c.shape, Direction::kTp2Dp, 100);
    const Views back = MakeViews(c.shape, Direction::kDp2Tp, 100);
    ASSERT_EQ(there.output.outer_stride_bytes, back.input.outer_stride_bytes);
    ASSERT_EQ(there.input.inner_size, back.output.inner_size);
    const Splits there_splits = c.ranks[0]->splits(Direction::kTp2Dp);
    const Splits back_splits = c.ranks[0]->splits(Direction::kDp2Tp);
    ASSERT_EQ(there_splits.input, back_splits.output);
    ASSERT_EQ(there_splits.output, back_splits.input);
    ASSERT_EQ(there_splits.output_offsets, back_splits.input_offsets);
    ASSERT_EQ(there_splits.input_offsets, nullptr);
    ASSERT_EQ(back_splits.output_offsets, nullptr);
  });
}

TEST(SplitsTest, ArraysKeepTheirAddressesWhenTheNumbersChange) {
  SplitArrays splits({.world_size = 2, .dp_group_count = 2, .group_capacity = 8, .total_capacity = 8}, 0);
  splits.Update({1, 2});
  const Splits before = splits.splits(Direction::kTp2Dp);

  splits.Update({3, 0});

  EXPECT_EQ(splits.splits(Direction::kTp2Dp).input, before.input);
  EXPECT_EQ(static_cast<const std::int32_t*>(before.input)[0], 3);
  EXPECT_EQ(static_cast<const std::int32_t*>(before.input)[1], 0);
}

}  // namespace
}  // namespace a8a::dp_mla
