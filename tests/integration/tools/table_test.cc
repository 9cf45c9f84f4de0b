// Tables, and text that a terminal shows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "client/tools/ctl/display_text.h"
#include "client/tools/ctl/format.h"
#include "client/tools/ctl/table.h"

namespace a8a::ctl {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(DisplayTextTest, WidthIsThatOfTheTerminal) {
  EXPECT_EQ(DisplayWidth("rank"), 4);
  EXPECT_EQ(DisplayWidth("\u00e9t\u00e9"), 3);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1) << "a combining accent";
  EXPECT_EQ(DisplayWidth("\u96c6\u5408"), 4) << "wide characters";
}

TEST(DisplayTextTest, WhatATerminalObeysIsReplaced) {
  EXPECT_EQ(Printable("a\x1b[2Jb"), "a\ufffd[2Jb");
  EXPECT_EQ(Printable("a\nb"), "a\ufffdb");
  EXPECT_EQ(Printable("a\xff"), "a\ufffd") << "no UTF-8";
  EXPECT_EQ(Printable("a\u202eb"), "a\ufffdb") << "turns the direction around";
  EXPECT_EQ(Printable("\u96c6"), "\u96c6");
}

TEST(DisplayTextTest, CutsByColumns) {
  EXPECT_EQ(Truncate("abcdef", 4), "abc\u2026");
  EXPECT_EQ(Truncate("abcd", 4), "abcd");
  EXPECT_EQ(Truncate("\u96c6\u5408\u4f53", 4), "\u96c6\u2026") << "half of a wide character is none";
}

TEST(TableTest, ColumnsAreAsWideAsTheirCells) {
  Table table({{.title = "ID", .align = Align::kRight}, {.title = "NAME"}, {.title = "X"}});
  table.AddRow({{"7"}, {"\u96c6\u5408"}, {"a"}});
  table.AddRow({{"1234"}, {"b"}, {"c"}});

  EXPECT_EQ(table.Format({}),
            "  ID  NAME  X\n"
            "   7  \u96c6\u5408  a\n"
            "1234  b     c\n");
}

TEST(TableTest, FitsIntoTheWidthAndSaysWhatIsLeftOut) {
  Table table({{.title = "ID"}, {.title = "NAME", .flexible = true}, {.title = "MORE", .drop_order = 1}});
  table.AddRow({{"7"}, {"a name that is much too long for it"}, {"0123456789"}});

  const std::string text = table.Format({.width = 24});

  EXPECT_THAT(text, HasSubstr("\u2026"));
  EXPECT_THAT(text, Not(HasSubstr("0123456789")));
  EXPECT_THAT(text, HasSubstr("MORE")) << "named as left out: " << text;
  const std::string first_line = text.substr(0, text.find('\n'));
  EXPECT_LE(DisplayWidth(first_line), 24) << text;
}

TEST(TableTest, ColorsOnlyWhereThereAreSome) {
  Table table({{.title = "HEALTH"}});
  table.AddRow({{"SERVING", Color::kGood}});

  EXPECT_THAT(table.Format({}), Not(HasSubstr("\x1b")));
  EXPECT_THAT(table.Format({.color = true}), HasSubstr("\x1b["));
}

TEST(FormatTest, NumbersAsPeopleReadThem) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1.5 * 1024 * 1024 * 1024), "1.5 GiB");
  EXPECT_EQ(FormatCount(12'300), "12.3k");
  EXPECT_EQ(FormatShare(0.125), "12.5%");
  EXPECT_EQ(FormatNs(3.2e6), "3.2 ms");
  EXPECT_EQ(FormatAge(3 * 86'400 + 4 * 3600), "3d 4h");
}

}  // namespace
}  // namespace a8a::ctl
