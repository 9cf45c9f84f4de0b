#include "daemon/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/support/daemon_process.h"

namespace a8a::daemon {
namespace {

using ::a8a::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SettingsTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(command_line_.config_path) << text; }
  Settings Load() { return Settings(command_line_, *LoadOptions(command_line_)); }

  const TempDir directory_;
  CommandLine command_line_ = {.config_path = directory_.path() + "/a8a.toml"};
};

TEST_F(SettingsTest, ReloadAppliesLiveOptionsOnly) {
  Write("drain_timeout = \"5s\"\nsession_max = 5\n");
  Settings settings = Load();
  Write("drain_timeout = \"6s\"\nsession_max = 6\nadmin_uids = [7]\n");

  const absl::StatusOr<Settings::Changes> changes = settings.Reload();

  ASSERT_TRUE(changes.ok()) << changes.status();
  EXPECT_THAT(changes->applied, ElementsAre("drain_timeout", "admin_uids"));
  EXPECT_THAT(changes->needs_restart, ElementsAre("session_max"));
  EXPECT_EQ(settings.current()->drain_timeout, absl::Seconds(6));
  EXPECT_EQ(settings.current()->session_max, 5);
  EXPECT_THAT(settings.current()->admin_uids, ElementsAre(7));
}

TEST_F(SettingsTest, ASecondReloadOnlyNamesWhatStillNeedsARestart) {
  Write("");
  Settings settings = Load();
  Write("drain_timeout = \"6s\"\nsession_max = 6\n");
  ASSERT_TRUE(settings.Reload().ok());

  const absl::StatusOr<Settings::Changes> changes = settings.Reload();

  ASSERT_TRUE(changes.ok()) << changes.status();
  EXPECT_THAT(changes->applied, IsEmpty());
  EXPECT_THAT(changes->needs_restart, ElementsAre("session_max"));
}

TEST_F(SettingsTest, AFlagStillWinsAfterReload) {
  Write("");
  command_line_.flags = {{"drain-timeout", "9s"}};
  Settings settings = Load();
  Write("drain_timeout = \"6s\"\n");

  ASSERT_TRUE(settings.Reload().ok());

  EXPECT_EQ(settings.current()->drain_timeout, absl::Seconds(9));
}

TEST_F(SettingsTest, NothingIsAppliedFromAFileWithAnError) {
  Write("drain_timeout = \"5s\"\n");
  Settings settings = Load();
  Write("drain_timeout = \"6s\"\nsession_max = 0\n");

  const absl::StatusOr<Settings::Changes> changes = settings.Reload();

  EXPECT_EQ(changes.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(changes.status().message()), HasSubstr("a8a.toml:2: session_max"));
  EXPECT_EQ(settings.current()->drain_timeout, absl::Seconds(5));
}

TEST(SettingsWithoutFileTest, ReloadIsAFailedPrecondition) {
  Settings settings(CommandLine{}, Options{});

  EXPECT_EQ(settings.Reload().status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace a8a::daemon
