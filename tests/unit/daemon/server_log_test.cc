#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "a8a/v1/buffer_service.pb.h"
#include "daemon/log.h"

namespace a8a::daemon {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kTime = absl::FromUnixMicros(1795509451'123456);

std::string Text(const LogFields& fields) {
  return FormatEvent(LogFormat::kText, kTime, LogLevel::kInfo, "group_ready", fields);
}

nlohmann::json Json(const LogFields& fields) {
  return nlohmann::json::parse(FormatEvent(LogFormat::kJson, kTime, LogLevel::kWarning, "group_ready", fields));
}

TEST(LogTest, TextIsTimeLevelEventAndFields) {
  EXPECT_EQ(Text({{"group", "7"}, {"ranks", "8"}}), "2026-11-24T08:37:31.123456Z I group_ready group=7 ranks=8");
}

TEST(LogTest, JsonIsOneObject) {
  const nlohmann::json expected = {
      {"time", "2026-11-24T08:37:31.123456Z"}, {"level", "warning"}, {"event", "group_ready"}, {"group", "7"}};

  EXPECT_EQ(Json({{"group", "7"}}), expected);
}

TEST(LogTest, ValuesThatAreNoPlainWordsAreQuotedInText) {
  EXPECT_THAT(Text({{"name", "a b"}}), HasSubstr("name=\"a b\""));
  EXPECT_THAT(Text({{"name", ""}}), HasSubstr("name=\"\""));
  EXPECT_THAT(Text({{"name", "a=b"}}), HasSubstr("name=\"a=b\""));
  EXPECT_THAT(Text({{"name", "say \"hi\" \\"}}), HasSubstr(R"(name="say \"hi\" \\")"));
}

TEST(LogTest, NoValueCanForgeALine) {
  const std::string forged = "x\n2026-11-24T08:37:31Z I group_ready\r\x1b[2J";

  EXPECT_THAT(Text({{"name", forged}}), Not(HasSubstr("\n")));
  EXPECT_THAT(Text({{"name", forged}}), Not(HasSubstr("\x1b")));
  EXPECT_EQ(Json({{"name", forged}})["name"], forged);
}

TEST(LogTest, JsonKeepsEveryValidCharacter) {
  const std::string characters = "\t\"\\/\x7f \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80";

  EXPECT_EQ(Json({{"name", characters}})["name"], characters);
}

TEST(LogTest, InvalidUtf8BecomesTheReplacementCharacter) {
  // Stray continuation, overlong, surrogate, too large, cut off.
  for (const std::string bad : {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x82"}) {
    const std::string value = Json({{"name", "a" + bad + "b"}})["name"];
    EXPECT_EQ(value.front(), 'a');
    EXPECT_EQ(value.back(), 'b');
    EXPECT_THAT(value, HasSubstr("\xef\xbf\xbd"));
  }
}

// protobuf used to write a line of its own to stderr for each such string, at the pace of whoever sent them.
TEST(LogTest, ProtobufsComplaintsAreLinesOfTheLogAndHeldBack) {
  ::testing::internal::CaptureStderr();
  StartLog(LogFormat::kText, LogLevel::kInfo);
  v1::RegisterBufferRequest request;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(request.ParseFromString("\x12\x01\xff"));

  StopLog();

  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr(" W protobuf place="));
  EXPECT_THAT(log, Not(HasSubstr("[libprotobuf")));
  EXPECT_LT(std::count(log.begin(), log.end(), '\n'), 10);
}

}  // namespace
}  // namespace a8a::daemon
