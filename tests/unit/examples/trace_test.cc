#include "client/examples/dp_mla/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace a8a::dp_mla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// The message of the error that `text` is refused with; empty if it is not refused.
std::string RefusalOf(absl::string_view text) {
  const absl::StatusOr<TokenTable> table = ParseTrace(text, "load.csv");
  if (table.ok()) return "";
  EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(table.status().message());
}

TEST(TraceTest, ReadsTheCountsOfEachStep) {
  const absl::StatusOr<TokenTable> table = ParseTrace("step,rank0,rank1\n0,42,46\n1,0,1000000\n", "load.csv");

  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->group_count, 2);
  EXPECT_EQ(table->step_count(), 2);
  EXPECT_THAT(table->step(0), ElementsAre(42, 46));
  EXPECT_THAT(table->step(1), ElementsAre(0, 1000000));
}

TEST(TraceTest, TakesCarriageReturnsAndAMissingLastNewline) {
  const absl::StatusOr<TokenTable> table = ParseTrace("step,rank0\r\n0,7\r\n1,8", "load.csv");

  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->tokens, ElementsAre(7, 8));
}

TEST(TraceTest, RefusesWhatIsNoTraceAtAll) {
  EXPECT_THAT(RefusalOf(""), AllOf(StartsWith("load.csv:1: "), HasSubstr("empty")));
  EXPECT_THAT(RefusalOf("step,rank0\n"), AllOf(StartsWith("load.csv:2: "), HasSubstr("without a row")));
  EXPECT_THAT(RefusalOf("step,rank0"), AllOf(StartsWith("load.csv:2: "), HasSubstr("without a row")));
  EXPECT_THAT(RefusalOf("\n0,1\n"), StartsWith("load.csv:1: the header starts with \"\""));
  EXPECT_THAT(RefusalOf("0,1\n1,2\n"), StartsWith("load.csv:1: the header starts with \"0\""));
  EXPECT_THAT(RefusalOf("step\n0\n"), StartsWith("load.csv:1: the header names 0 ranks"));
  EXPECT_THAT(RefusalOf("step,rank0,rank2\n0,1,2\n"), HasSubstr("header column 2 is \"rank2\", expected rank1"));
}

TEST(TraceTest, RefusesMoreColumnsThanTheLimit) {
  std::string header = "step";
  for (int column = 0; column <= kMaxTraceColumns; ++column) absl::StrAppend(&header, ",rank", column);

  EXPECT_THAT(RefusalOf(header + "\n"), AllOf(StartsWith("load.csv:1: "), HasSubstr("1025"), HasSubstr("1024")));
}

TEST(TraceTest, RefusesBlankRowsWhereverTheyAre) {
  EXPECT_EQ(RefusalOf("step,rank0\n\n0,1\n"), "load.csv:2: the row is blank");
  EXPECT_EQ(RefusalOf("step,rank0\n0,1\n\n"), "load.csv:3: the row is blank");
  EXPECT_EQ(RefusalOf("step,rank0\n0,1\n \t\r\n1,1\n"), "load.csv:3: the row is blank");
}

TEST(TraceTest, RefusesRowsOfAnotherWidth) {
  EXPECT_EQ(RefusalOf("step,rank0,rank1\n0,1\n"), "load.csv:2: the row has 2 columns, the header has 3");
  EXPECT_EQ(RefusalOf("step,rank0\n0,1\n1,2,3\n"), "load.csv:3: the row has 3 columns, the header has 2");
  EXPECT_EQ(RefusalOf("step,rank0\n0,1,\n"), "load.csv:2: the row has 3 columns, the header has 2");
}

TEST(TraceTest, RefusesCellsThatAreNoCounts) {
  for (const char* cell : {"", " 5", "5 ", "+5", "5.0", "1e3", "0x10", "five", "--5", "-", "5;6", "\xd9\xa3"}) {
    EXPECT_THAT(RefusalOf(absl::StrCat("step,rank0\n0,1\n1,", cell, "\n")),
                AllOf(StartsWith("load.csv:3: column rank0: "), HasSubstr("is not a count")))
        << cell;
  }
}

TEST(TraceTest, RefusesNegativeCounts) {
  EXPECT_EQ(RefusalOf("step,rank0,rank1\n0,1,-2\n"),
            "load.csv:2: column rank1: \"-2\" is negative; a count is in [0, 1000000]");
}

TEST(TraceTest, RefusesAbsurdCounts) {
  for (const char* cell : {"1000001", "99999999999999999999999999999999999999"}) {
    EXPECT_THAT(RefusalOf(absl::StrCat("step,rank0\n0,", cell, "\n")),
                AllOf(StartsWith("load.csv:2: column rank0: "), HasSubstr("more than the limit of 1000000")));
  }
}

TEST(TraceTest, RefusesBadStepNumbers) {
  for (const char* step : {"", "x", "-1", "1.5", "99999999999999999999"}) {
    EXPECT_THAT(RefusalOf(absl::StrCat("step,rank0\n", step, ",1\n")), StartsWith("load.csv:2: column step: \""));
  }
}

TEST(TraceTest, RefusesNulBytes) {
  const std::string text("step,rank0\n0,1\n1,\0\n", 19);

  EXPECT_EQ(RefusalOf(text), "load.csv:3: byte 3 of the line is NUL; this is not a text file");
}

TEST(TraceTest, RefusesHugeLinesWithoutRepeatingThem) {
  const std::string huge(kMaxTraceLineBytes + 1, '1');

  EXPECT_EQ(RefusalOf(absl::StrCat("step,rank0\n0,", huge, "\n")),
            "load.csv:2: the line has 65539 bytes, the limit is 65536");
}

TEST(TraceTest, ShowsOnlyTheStartOfALongCellAndNoControlBytes) {
  const std::string refusal = RefusalOf(absl::StrCat("step,rank0\n0,\x1b[31m", std::string(1000, 'x'), "\n"));

  EXPECT_THAT(refusal, HasSubstr("\"\\033[31mxxxxxxxxxxxxxxxxxxx...\""));
  EXPECT_LT(refusal.size(), 200u);
}

TEST(TraceTest, FileThatCannotBeReadIsNamed) {
  const absl::StatusOr<TokenTable> absent = ReadTrace("/nonexistent/load.csv");
  const absl::StatusOr<TokenTable> directory = ReadTrace("/");

  EXPECT_EQ(absent.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(absent.status().message()), HasSubstr("/nonexistent/load.csv"));
  EXPECT_FALSE(directory.ok());
}

TEST(TraceTest, FileIsReadAsItsText) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/a8a-trace-", ::getpid(), ".csv");
  std::ofstream(path) << "step,rank0\n0,3\n1,x\n";

  const absl::StatusOr<TokenTable> table = ReadTrace(path);
  std::remove(path.c_str());

  EXPECT_THAT(std::string(table.status().message()), StartsWith(absl::StrCat(path, ":3: ")));
}

TEST(TraceTest, ColumnsFoldIntoGroupsByTheirRemainder) {
  const absl::StatusOr<TokenTable> columns =
      ParseTrace("step,rank0,rank1,rank2,rank3,rank4\n0,1,20,300,4000,50000\n1,0,0,0,0,7\n", "load.csv");
  ASSERT_TRUE(columns.ok()) << columns.status();

  const absl::StatusOr<TokenTable> pairs = FoldColumns(*columns, 2, "load.csv");
  const absl::StatusOr<TokenTable> single = FoldColumns(*columns, 1, "load.csv");
  const absl::StatusOr<TokenTable> same = FoldColumns(*columns, 5, "load.csv");

  ASSERT_TRUE(pairs.ok() && single.ok() && same.ok());
  EXPECT_THAT(pairs->tokens, ElementsAre(50301, 4020, 7, 0));
  EXPECT_THAT(single->tokens, ElementsAre(54321, 7));
  EXPECT_EQ(same->tokens, columns->tokens);
}

TEST(TraceTest, FewerColumnsThanGroupsAreRefused) {
  const absl::StatusOr<TokenTable> columns = ParseTrace("step,rank0,rank1\n0,1,2\n", "load.csv");
  ASSERT_TRUE(columns.ok());

  const absl::StatusOr<TokenTable> folded = FoldColumns(*columns, 3, "load.csv");

  EXPECT_EQ(folded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(folded.status().message(),
            "load.csv:1: the trace has 2 rank columns, 3 data-parallel groups need at least as many");
}

}  // namespace
}  // namespace a8a::dp_mla
