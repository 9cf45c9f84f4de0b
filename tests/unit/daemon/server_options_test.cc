#include "daemon/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/command_line.h"

namespace a8a::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const OptionSpec& Spec(absl::string_view name) {
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.name == name) return spec;
  }
  ADD_FAILURE() << "no option " << std::string(name);
  return OptionTable().front();
}

// Parses a command line that must be readable.
CommandLine Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "a8a-daemon");
  auto parsed = ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
  if (const auto* command_line = std::get_if<CommandLine>(&parsed)) return *command_line;
  ADD_FAILURE() << "exit status " << std::get<int>(parsed);
  return {};
}

int ExitStatus(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "a8a-daemon");
  auto parsed = ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
  return std::holds_alternative<int>(parsed) ? std::get<int>(parsed) : -1;
}

TEST(OptionTableTest, NamesAreUnique) {
  std::set<std::string> names;

  for (const OptionSpec& spec : OptionTable()) EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
}

TEST(OptionTableTest, EveryDefaultIsAnAllowedValue) {
  for (const OptionSpec& spec : OptionTable()) {
    Options options;
    const std::string text = spec.format(Options());

    EXPECT_TRUE(spec.parse(text, &options).ok()) << spec.name << " refuses its default " << text;
    EXPECT_EQ(spec.format(options), text) << spec.name;
  }
}

TEST(OptionTableTest, EveryRowSetsAFieldOfItsOwn) {
  const std::vector<std::pair<std::string, std::string>> other_values = {
      {"runtime-dir", "/tmp/x"},
      {"backend", "cuda"},
      {"log-format", "json"},
      {"log-level", "debug"},
      {"drain-timeout", "7s"},
      {"health-interval", "3s"},
      {"host-pool-bytes", "4096"},
      {"host-huge-pages", "hugetlb"},
      {"host-prefault", "true"},
      {"host-numa-node", "1"},
      {"cuda-pool-bytes", "4096,GPU-a=8192,cuda:1=0"},
      {"session-max", "7"},
      {"group-max", "8"},
      {"buffer-max", "9"},
      {"ticket-lifetime", "11s"},
      {"connection-max-per-uid", "12"},
      {"session-max-per-uid", "15"},
      {"group-max-per-uid", "16"},
      {"window-max-per-uid", "17"},
      {"buffer-max-per-uid", "18"},
      {"bytes-max-per-uid", "19"},
      {"descriptor-max-per-uid", "20"},
      {"request-rate-max-per-uid", "21"},
      {"admin-uids", "13,14"},
      {"admin-gids", "22"},
      {"allowed-uids", "23"},
      {"allowed-gids", "24,25"},
      {"socket-mode", "0600"},
      {"socket-group", "a8a"},
      {"legacy-ipc", "on"},
      {"metrics-socket", "/tmp/m.sock"},
      {"metrics-socket-mode", "0640"},
      {"metrics-socket-group", "prometheus"},
      {"metrics-port", "9187"},
      {"metrics-rank-max", "26"},
  };
  ASSERT_EQ(other_values.size(), OptionTable().size());

  for (const auto& [name, value] : other_values) {
    Options options;
    ASSERT_TRUE(Spec(name).parse(value, &options).ok()) << name;

    std::vector<std::string> changed;
    for (const OptionSpec& spec : OptionTable()) {
      if (spec.format(options) != spec.format(Options())) changed.push_back(spec.name);
    }
    EXPECT_THAT(changed, ElementsAre(name));
    EXPECT_EQ(Spec(name).format(options), value);
  }
}

TEST(OptionsTest, LegacyIpcIsOffWhereOthersMayConnectUnlessAsked) {
  const auto allows = [](mode_t socket_mode, LegacyIpc legacy_ipc) {
    Options options;
    options.socket_mode = socket_mode;
    options.legacy_ipc = legacy_ipc;
    return AllowsLegacyIpc(options);
  };
  EXPECT_FALSE(AllowsLegacyIpc(Options()));
  EXPECT_FALSE(allows(0606, LegacyIpc::kAuto));
  EXPECT_TRUE(allows(0600, LegacyIpc::kAuto));
  EXPECT_FALSE(allows(0600, LegacyIpc::kOff));
  EXPECT_TRUE(allows(0660, LegacyIpc::kOn));
}

TEST(OptionsTest, LegacyIpcIsOnWhereOneUidIsAllowedToConnect) {
  const auto allows = [](std::vector<uid_t> uids, std::vector<uid_t> admin_uids) {
    Options options;
    options.socket_mode = 0666;
    options.allowed_uids = std::move(uids);
    options.admin_uids = std::move(admin_uids);
    return AllowsLegacyIpc(options);
  };
  // The daemon's own uid is allowed too, unless it is root.
  const uid_t uid = ::geteuid() == 0 ? 7 : ::geteuid();
  EXPECT_TRUE(allows({uid}, {}));
  EXPECT_TRUE(allows({uid, 0}, {uid}));
  EXPECT_FALSE(allows({uid, uid + 1}, {}));
  EXPECT_FALSE(allows({uid}, {uid + 1}));
  Options groups;
  groups.allowed_uids = {uid};
  groups.allowed_gids = {uid};
  EXPECT_FALSE(AllowsLegacyIpc(groups)) << "who knows how many are in a group";
}

TEST(OptionTableTest, OutOfRangeAndMalformedValuesAreRefused) {
  const std::vector<std::pair<std::string, std::string>> bad_values = {
      {"runtime-dir", ""},
      {"runtime-dir", std::string(99, 'x')},
      {"backend", "HOST"},
      {"log-level", "loud"},
      {"drain-timeout", "-1s"},
      {"drain-timeout", "25h"},
      {"drain-timeout", "5"},
      {"health-interval", "1ms"},
      {"host-pool-bytes", "64GB"},
      {"host-pool-bytes", "-1"},
      {"host-pool-bytes", "MiB"},
      {"host-pool-bytes", "1025TiB"},
      {"cuda-pool-bytes", "cuda:0"},
      {"cuda-pool-bytes", "cuda:0=1GB"},
      {"cuda-pool-bytes", "cuda:0=1MiB,cuda:0=2MiB"},
      {"host-prefault", "yes"},
      {"host-numa-node", "1024"},
      {"session-max", "0"},
      {"session-max", "1e3"},
      {"session-max", "99999999999999999999"},
      {"admin-uids", "root"},
      {"admin-uids", "4294967296"},
      {"allowed-gids", "-1"},
      {"descriptor-max-per-uid", "-1"},
      {"request-rate-max-per-uid", "0"},
      {"socket-mode", "660"},
      {"socket-mode", "0680"},
      {"socket-mode", "1777"},
      {"metrics-socket", "metrics.sock"},
      {"metrics-socket", ""},
      {"metrics-socket", "/run/a8a/"},
      {"metrics-socket", "/" + std::string(107, 'x')},
      {"metrics-socket-mode", "600"},
      {"metrics-port", "65536"},
      {"metrics-port", "0.0.0.0:9187"},
      {"metrics-rank-max", "-1"},
  };

  for (const auto& [name, value] : bad_values) {
    Options options;
    const absl::Status status = Spec(name).parse(value, &options);

    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name << " takes \"" << value << "\"";
    EXPECT_THAT(std::string(status.message()), HasSubstr("allowed")) << name;
  }
}

TEST(OptionTableTest, SizesTakeBinarySuffixes) {
  const std::vector<std::pair<std::string, std::int64_t>> sizes = {
      {"0", 0},
      {"4096", 4096},
      {"1KiB", std::int64_t{1} << 10},
      {"64MiB", std::int64_t{64} << 20},
      {"64GiB", std::int64_t{64} << 30},
      {"1024TiB", std::int64_t{1} << 50},
  };

  for (const auto& [text, bytes] : sizes) {
    Options options;
    ASSERT_TRUE(Spec("host-pool-bytes").parse(text, &options).ok()) << text;
    EXPECT_EQ(options.host_pool_bytes, bytes) << text;
  }
}

TEST(OptionTableTest, RuntimeDirRefusalNamesTheLengthAndTheLimit) {
  Options options;

  const absl::Status status = Spec("runtime-dir").parse(std::string(99, 'x'), &options);

  EXPECT_TRUE(Spec("runtime-dir").parse(std::string(98, 'x'), &options).ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("here of 108 bytes, has at most 107")) << status;
}

TEST(CommandLineTest, FlagsAreKeptByName) {
  const CommandLine command_line = Parse({"--backend=host", "--host-prefault", "--drain-timeout", "2s"});

  EXPECT_THAT(command_line.flags, ElementsAre(std::pair("backend", "host"), std::pair("drain-timeout", "2s"),
                                              std::pair("host-prefault", "true")));
  EXPECT_FALSE(command_line.check_config);
}

TEST(CommandLineTest, TheLastOfRepeatedFlagsWins) {
  EXPECT_EQ(Parse({"--drain-timeout=1s", "--drain-timeout=2s"}).flags.at("drain-timeout"), "2s");
}

TEST(CommandLineTest, ASwitchCanBeTurnedOff) {
  EXPECT_EQ(Parse({"--host-prefault=false"}).flags.at("host-prefault"), "false");
}

TEST(CommandLineTest, NoFlagsMeanDefaults) { EXPECT_THAT(Parse({}).flags, IsEmpty()); }

TEST(CommandLineTest, UnknownFlagsAndArgumentsAreUsageErrors) {
  EXPECT_EQ(ExitStatus({"--nonsense"}), kExitUsage);
  EXPECT_EQ(ExitStatus({"nonsense"}), kExitUsage);
  EXPECT_EQ(ExitStatus({"--backend"}), kExitUsage);
}

TEST(CommandLineTest, HelpNamesEveryOption) {
  ::testing::internal::CaptureStdout();

  const int exit_status = ExitStatus({"--help"});

  const std::string help = ::testing::internal::GetCapturedStdout();
  EXPECT_EQ(exit_status, 0);
  for (const OptionSpec& spec : OptionTable()) EXPECT_THAT(help, HasSubstr("--" + spec.name));
}

TEST(CommandLineTest, AFlagThatIsRefusedIsNamed) {
  const absl::StatusOr<Options> options = LoadOptions({.flags = {{"session-max", "0"}}});

  EXPECT_EQ(options.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(options.status().message()),
            "--session-max: \"0\" is not allowed; allowed: integers from 1 to 65536");
}

}  // namespace
}  // namespace a8a::daemon
