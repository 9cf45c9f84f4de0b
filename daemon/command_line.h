// The command line of a8a-daemon, and how it and the config file become Options.
#ifndef A8A_DAEMON_COMMAND_LINE_H_
#define A8A_DAEMON_COMMAND_LINE_H_

#include <map>
#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "daemon/options.h"

namespace a8a::daemon {

inline constexpr char kDefaultConfigPath[] = "/etc/a8a/a8a.toml";
// Exit status for a command line that cannot be read.
inline constexpr int kExitUsage = 2;

struct CommandLine {
  // Empty: there is no config file.
  std::string config_path = {};
  bool check_config = false;
  // By option name, in the order of the option table.
  std::map<std::string, std::string> flags = {};
};

// Returns the exit status instead when there is nothing to run: after --help and --version (0), and after an error
// (kExitUsage), which is then printed to stderr as one line.
[[nodiscard]] std::variant<CommandLine, int> ParseCommandLine(int argc, const char* const* argv);

// Defaults, then the config file, then the flags.
//
// Errors: those of ApplyConfigFile; INVALID_ARGUMENT with the flag's name for a flag's value.
[[nodiscard]] absl::StatusOr<Options> LoadOptions(const CommandLine& command_line);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_COMMAND_LINE_H_
