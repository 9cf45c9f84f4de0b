// The oracle against results worked out by hand.
#include "kernels/reference/all_to_all_reference.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace a8a::kernels::reference {
namespace {

using enum PairVerdict;
using testing::ElementsAre;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
std::span<std::byte> Bytes(std::string& text) { return std::as_writable_bytes(std::span(text)); }

constexpr RowLayout Dense(std::int64_t rows, std::int64_t row_bytes) { return {1, rows, 0, row_bytes, row_bytes}; }

TEST(ReferenceTest, RowsGoWhereTheSplitsSay) {
  const std::string in0 = "AABBCC";
  const std::string in1 = "ddee";
  std::string out0 = "......";
  std::string out1 = "........";
  RankData ranks[] = {{.input = Bytes(in0),
                       .input_layout = Dense(3, 2),
                       .input_splits = {1, 2},
                       .input_offsets = {},
                       .output = Bytes(out0),
                       .output_layout = Dense(3, 2),
                       .output_splits = {1, 1},
                       .output_offsets = {}},
                      {.input = Bytes(in1),
                       .input_layout = Dense(2, 2),
                       .input_splits = {1, 1},
                       .input_offsets = {1, 0},
                       .output = Bytes(out1),
                       .output_offset_bytes = 1,
                       .output_layout = Dense(3, 2),
                       .output_splits = {2, 1},
                       .output_offsets = {1, 0}}};

  const auto verdicts = AllToAll(ranks);

  EXPECT_THAT(verdicts, ElementsAre(ElementsAre(kMoved, kMoved), ElementsAre(kMoved, kMoved)));
  EXPECT_EQ(out0, "AAee..");
  EXPECT_EQ(out1, ".ddBBCC.");
}

TEST(ReferenceTest, StridesTranspose) {
  const std::string in = "abcdef";
  std::string out = "......";
  // Row q of the input is in column order of a 2 x 3 matrix; the output is dense.
  RankData ranks[] = {{.input = Bytes(in),
                       .input_layout = {3, 2, 1, 3, 1},
                       .input_splits = {6},
                       .input_offsets = {},
                       .output = Bytes(out),
                       .output_layout = Dense(6, 1),
                       .output_splits = {6},
                       .output_offsets = {}}};

  AllToAll(ranks);

  EXPECT_EQ(out, "adbecf");
}

// One rank to itself, with the given splits over views of 3 rows.
PairVerdict VerdictOf(const std::vector<std::int64_t>& input, const std::vector<std::int64_t>& output,
                      std::int64_t output_row_bytes = 1) {
  const std::string in = "abc";
  std::string out = "...";
  RankData ranks[] = {{.input = Bytes(in),
                       .input_layout = Dense(3, 1),
                       .input_splits = input,
                       .input_offsets = {},
                       .output = Bytes(out),
                       .output_layout = Dense(3 / output_row_bytes, output_row_bytes),
                       .output_splits = output,
                       .output_offsets = {}}};
  const PairVerdict verdict = AllToAll(ranks)[0][0];
  EXPECT_EQ(out, verdict == kMoved ? "abc" : "...");
  return verdict;
}

TEST(ReferenceTest, FaultyPairsDoNotMove) {
  EXPECT_EQ(VerdictOf({3}, {3}), kMoved);
  EXPECT_EQ(VerdictOf({3}, {2}), kSplitsDiffer);
  EXPECT_EQ(VerdictOf({4}, {3}), kSenderInvalid);
  EXPECT_EQ(VerdictOf({-1}, {3}), kSenderInvalid);
  EXPECT_EQ(VerdictOf({3}, {4}), kReceiverInvalid);
  EXPECT_EQ(VerdictOf({3}, {1}, 3), kRowBytesDiffer);
}

TEST(ReferenceTest, OverlappingSourcesMakeTheReceiverInvalid) {
  const std::string in = "ab";
  std::string out = "...";
  const RankData rank = {.input = Bytes(in),
                         .input_layout = Dense(2, 1),
                         .input_splits = {1, 1},
                         .input_offsets = {},
                         .output = Bytes(out),
                         .output_layout = Dense(3, 1),
                         .output_splits = {1, 1},
                         .output_offsets = {2, 2}};
  RankData ranks[] = {rank, rank};
  EXPECT_THAT(AllToAll(ranks)[0], ElementsAre(kReceiverInvalid, kReceiverInvalid));
  EXPECT_EQ(out, "...");
}

}  // namespace
}  // namespace a8a::kernels::reference
