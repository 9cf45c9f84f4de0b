// The command line of a8actl.
#ifndef A8A_CLIENT_TOOLS_CTL_COMMAND_LINE_H_
#define A8A_CLIENT_TOOLS_CTL_COMMAND_LINE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/fd_protocol.h"

namespace a8a::ctl {

struct Options {
  std::string command;  // "status", "config check", ...
  std::string runtime_dir = kDefaultRuntimeDir;
  double timeout_seconds = 5;
  bool json = false;
  bool watch = false;
  double interval_seconds = 2;
  int count = 0;  // views; 0: until somebody quits
  std::uint64_t group_id = 0;
  std::string health_name;      // empty: all names
  double drain_seconds = 0;     // 0: without limit
  std::string target_kind;      // of revoke: "session", "group", "buffer"
  std::uint64_t target_id = 0;  // of revoke
  std::string config_path = "/etc/a8a/a8a.toml";
  std::string daemon_program;  // of config check; empty: the one beside this program
  std::string shell;           // of completion

  [[nodiscard]] absl::Duration timeout() const { return absl::Seconds(timeout_seconds); }
};

// Returns the exit status where nothing is left to do: after --help and completion, and after an error (kExitUsage).
[[nodiscard]] std::optional<int> ParseCommandLine(int argc, char** argv, Options* options);

// The words that the first argument of a command can be; empty where it is free or there is none.
[[nodiscard]] std::vector<std::string> ArgumentsOf(const std::string& command);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_COMMAND_LINE_H_
