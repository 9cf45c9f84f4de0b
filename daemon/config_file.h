// The daemon's config file: TOML, keys as in the option table (options.h), no tables.
#ifndef A8A_DAEMON_CONFIG_FILE_H_
#define A8A_DAEMON_CONFIG_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "daemon/options.h"

namespace a8a::daemon {

// Sets in `options` what the file at `path` sets.
//
// Errors: INVALID_ARGUMENT for a syntax error, an unknown key, a wrong type or a value out of range, as
// "FILE:LINE: KEY: what was given and what is allowed"; FAILED_PRECONDITION if it cannot be read.
[[nodiscard]] absl::Status ApplyConfigFile(const std::string& path, Options* options);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CONFIG_FILE_H_
