// What each subcommand asks the daemon, and what comes of it.
#ifndef A8A_CLIENT_TOOLS_CTL_COMMANDS_H_
#define A8A_CLIENT_TOOLS_CTL_COMMANDS_H_

#include <nlohmann/json.hpp>
#include <string>

#include "a8a/v1/stat_service.pb.h"
#include "absl/status/statusor.h"
#include "client/tools/ctl/command_line.h"
#include "client/tools/ctl/exit_status.h"
#include "client/tools/ctl/table.h"

namespace a8a::ctl {

struct Reply {
  nlohmann::ordered_json json;
  std::string text;
  int exit_status = kExitOk;
};

// Carries out options.command once, but for "top". Errors: those of the daemon.
[[nodiscard]] absl::StatusOr<Reply> RunCommand(const Options& options, const Style& style);

// For "top", which needs two.
[[nodiscard]] absl::StatusOr<v1::Stats> TakeSnapshot(const Options& options);

// The line that tells a user that others may hold more; empty for root and the daemon's own uid, who see all.
[[nodiscard]] std::string ScopeNote(const Options& options);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_COMMANDS_H_
