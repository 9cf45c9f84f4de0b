// The annotated config file says the truth: it is read, names every key, and shows each key's default.
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "daemon/config_file.h"
#include "daemon/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace a8a::daemon {
namespace {

using ::testing::HasSubstr;

std::string ReadExample() {
  std::ifstream file(A8A_CONFIG_EXAMPLE_PATH);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ConfigExampleTest, EveryKeyIsShown) {
  const std::string example = ReadExample();

  for (const OptionSpec& spec : OptionTable()) EXPECT_THAT(example, HasSubstr(absl::StrCat("\n", spec.key(), " = ")));
}

TEST(ConfigExampleTest, EveryValueIsTheDefault) {
  Options options;
  // Values that are nobody's default, so that a key which the file leaves out is seen.
  options.host_pool_bytes = 1;
  options.session_max = 1;

  const absl::Status status = ApplyConfigFile(A8A_CONFIG_EXAMPLE_PATH, &options);

  ASSERT_TRUE(status.ok()) << status;
  for (const OptionSpec& spec : OptionTable()) EXPECT_EQ(spec.format(options), spec.format(Options())) << spec.key();
}

TEST(ConfigExampleTest, LiveKeysAreMarked) {
  const std::string example = ReadExample();

  for (const OptionSpec& spec : OptionTable()) {
    const std::size_t key = example.find(absl::StrCat("\n", spec.key(), " = "));
    ASSERT_NE(key, std::string::npos) << spec.key();
    const std::size_t comment = example.rfind('\n', key - 1) + 1;
    const bool marked = example.substr(comment, key - comment).find("[live]") != std::string::npos;
    EXPECT_EQ(marked, spec.live) << spec.key();
  }
}

}  // namespace
}  // namespace a8a::daemon
