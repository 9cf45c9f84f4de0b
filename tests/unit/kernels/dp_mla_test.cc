// The two all-to-alls of data-parallel MLA (section 1 of the design), with the transposes fused into the copies.
#include <cstring>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/case_run.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"

namespace a8a::kernels::test {
namespace {

using testing::Each;

constexpr std::int64_t kRowBytes = 36;
// Tokens that the transposed side has room for: more than there are, as in a padded batch.
constexpr std::int64_t kCapacity = 9;

// W ranks in D groups of T = W / D; tokens[d] tokens in group d this step.
struct Step {
  int world_size;
  std::vector<std::int64_t> tokens;

  [[nodiscard]] int group_count() const { return static_cast<int>(tokens.size()); }
  [[nodiscard]] int group_size() const { return world_size / group_count(); }
  [[nodiscard]] std::int64_t token_count() const { return std::accumulate(tokens.begin(), tokens.end(), 0L); }
  [[nodiscard]] std::int64_t TokensBefore(int group) const {
    return std::accumulate(tokens.begin(), tokens.begin() + group, 0L);
  }
  // Rank `rank` holds all tokens in rows of its heads; those of group d go to this rank.
  [[nodiscard]] int TargetOf(int rank, int group) const { return group * group_size() + rank / group_count(); }
  // Rank `rank` gets the tokens of its group from this rank, as column `column` of [tokens, D, row].
  [[nodiscard]] int SourceOf(int rank, int column) const { return rank % group_size() * group_count() + column; }
};

// Rows in the order of tokens: [all tokens, row].
RowLayout TokenView(const Step& step) { return {1, step.token_count(), 0, kRowBytes, kRowBytes}; }

// [tokens, D, row] seen as [D, capacity, row], in which every column's rows are consecutive.
RowLayout ColumnView(const Step& step) {
  return {step.group_count(), kCapacity, kRowBytes, kRowBytes * step.group_count(), kRowBytes};
}

// What one rank exchanges by token (a split per group), and by column (a split per column, with offsets).
void FillByToken(const Step& step, int rank, std::vector<std::int64_t>* splits) {
  splits->assign(static_cast<std::size_t>(step.world_size), 0);
  for (int group = 0; group < step.group_count(); ++group) {
    (*splits)[static_cast<std::size_t>(step.TargetOf(rank, group))] = step.tokens[static_cast<std::size_t>(group)];
  }
}

void FillByColumn(const Step& step, int rank, std::vector<std::int64_t>* splits, std::vector<std::int64_t>* offsets) {
  splits->assign(static_cast<std::size_t>(step.world_size), 0);
  offsets->assign(static_cast<std::size_t>(step.world_size), 0);
  for (int column = 0; column < step.group_count(); ++column) {
    const auto source = static_cast<std::size_t>(step.SourceOf(rank, column));
    (*splits)[source] = step.tokens[static_cast<std::size_t>(rank / step.group_size())];
    (*offsets)[source] = column * kCapacity;
  }
}

std::int64_t WindowBytes(const Step& step) {
  return kRowBytes * std::max<std::int64_t>(step.token_count(), step.group_count() * kCapacity);
}

Case Tp2Dp(const Step& step) {
  Case a_case;
  for (int rank = 0; rank < step.world_size; ++rank) {
    RankCase& mine = a_case.ranks.emplace_back();
    mine.input_layout = TokenView(step);
    mine.output_layout = ColumnView(step);
    FillByToken(step, rank, &mine.input_splits);
    FillByColumn(step, rank, &mine.output_splits, &mine.output_offsets);
    mine.window_bytes = WindowBytes(step);
  }
  return a_case;
}

Case Dp2Tp(const Step& step) {
  Case a_case;
  for (int rank = 0; rank < step.world_size; ++rank) {
    RankCase& mine = a_case.ranks.emplace_back();
    mine.input_layout = ColumnView(step);
    mine.output_layout = TokenView(step);
    FillByColumn(step, rank, &mine.input_splits, &mine.input_offsets);
    FillByToken(step, rank, &mine.output_splits);
    mine.window_bytes = WindowBytes(step);
  }
  return a_case;
}

class DpMlaTest : public testing::TestWithParam<Step> {
 protected:
  // Byte of row `head_rank` (the rank whose heads it holds) of a token, numbered over all groups.
  static std::byte Activation(int head_rank, std::int64_t token, std::int64_t byte) {
    return InputByte(head_rank, 0, token * kRowBytes + byte);
  }

  const Step& step_ = GetParam();
  const std::vector<std::int64_t> windows_ =
      std::vector<std::int64_t>(static_cast<std::size_t>(step_.world_size), WindowBytes(step_));
  TestGroup group_{step_.world_size, 1, {2, windows_}};
};

TEST_P(DpMlaTest, BothAgreeWithTheOracle) {
  for (const Case& a_case : {Tp2Dp(step_), Dp2Tp(step_)}) {
    CaseRun run(group_, a_case);
    EXPECT_THAT(run.OneShot(0, 1), Each("OK"));
    run.ExpectMoved(0, 1);
    EXPECT_THAT(run.Prepare(1), Each("OK"));
    EXPECT_THAT(run.Prepared(1, 2), Each("OK"));
    run.ExpectMoved(1, 2);
  }
}

// Independent of the oracle: after tp2dp, a rank of group d holds every head of each of its tokens that its column
// ranks had; dp2tp brings every rank its own rows back.
TEST_P(DpMlaTest, ThereAndBackIsTheIdentity) {
  const Case there = Tp2Dp(step_);
  const Case back = Dp2Tp(step_);
  group_.Run([&](int rank) {
    Launch forward(there.ranks[static_cast<std::size_t>(rank)], group_.group(rank), 0);
    Launch backward(back.ranks[static_cast<std::size_t>(rank)], group_.group(rank), 0);
    const std::byte* input = forward.FillInput(0);  // round 0: byte i of rank r is InputByte(r, 0, i)
    const std::span<const std::byte> columns = group_.Part(rank, 0);
    const std::span<const std::byte> returned = group_.Part(rank, 1);

    ASSERT_TRUE(host::AllToAll(forward.Params(group_.window(rank, 0))).ok());

    const int group = rank / step_.group_size();
    for (std::int64_t token = 0; token < step_.tokens[static_cast<std::size_t>(group)]; ++token) {
      for (int column = 0; column < step_.group_count(); ++column) {
        const auto at = static_cast<std::size_t>((token * step_.group_count() + column) * kRowBytes);
        ASSERT_EQ(columns[at], Activation(step_.SourceOf(rank, column), step_.TokensBefore(group) + token, 0))
            << "rank " << rank << ", token " << token << ", column " << column;
      }
    }
    AllToAllParams params = backward.Params(group_.window(rank, 1));
    params.input = columns.data();
    ASSERT_TRUE(host::AllToAll(params).ok());
    const auto size = static_cast<std::size_t>(step_.token_count() * kRowBytes);
    ASSERT_EQ(FirstDifference(returned.first(size), std::span(input, size)), "") << "rank " << rank;
  });
}

INSTANTIATE_TEST_SUITE_P(Steps, DpMlaTest,
                         testing::Values(Step{8, {3, 1, 4, 1, 5, 9, 2, 6}}, Step{8, {5, 0, 0, 7}}, Step{8, {9, 2}},
                                         Step{8, {4}}, Step{8, {0, 0, 0, 0, 0, 0, 0, 0}}, Step{4, {0, 9}},
                                         Step{2, {1, 0}}, Step{1, {6}}),
                         [](const auto& instance) {
                           const Step& step = instance.param;
                           return absl::StrCat("World", step.world_size, "Groups", step.group_count(), "Tokens",
                                               step.token_count());
                         });

}  // namespace
}  // namespace a8a::kernels::test
