// Has the daemon's own parser look at a config file, so that there is no second opinion on what is right.
#ifndef A8A_CLIENT_TOOLS_CTL_CONFIG_CHECK_H_
#define A8A_CLIENT_TOOLS_CTL_CONFIG_CHECK_H_

#include <string>

#include "absl/status/statusor.h"

namespace a8a::ctl {

// What `daemon --config path --check-config` says: empty if the file is right, else "FILE:LINE: KEY: ...". An empty
// `daemon` is the a8a-daemon beside this program, or else that of PATH.
//
// Errors: UNIMPLEMENTED where that program cannot be run.
[[nodiscard]] absl::StatusOr<std::string> CheckConfig(const std::string& daemon, const std::string& path);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_CONFIG_CHECK_H_
