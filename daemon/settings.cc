#include "daemon/settings.h"

#include <utility>

#include "absl/strings/str_join.h"
#include "daemon/log.h"
#include "kernels/base/check.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {

Settings::Settings(CommandLine command_line, Options options)
    : command_line_(std::move(command_line)), options_(std::make_shared<const Options>(std::move(options))) {}

std::shared_ptr<const Options> Settings::current() const {
  const MutexLock lock(&mutex_);
  return options_;
}

absl::StatusOr<Settings::Changes> Settings::Reload() {
  if (command_line_.config_path.empty()) {
    return absl::FailedPreconditionError("the daemon was started without a config file; start it with --config FILE");
  }
  A8A_ASSIGN_OR_RETURN(const Options loaded, LoadOptions(command_line_));

  Changes changes;
  const MutexLock lock(&mutex_);
  Options updated = *options_;
  for (const OptionSpec& spec : OptionTable()) {
    const std::string value = spec.format(loaded);
    if (value == spec.format(*options_)) continue;
    (spec.live ? changes.applied : changes.needs_restart).push_back(spec.key());
    if (!spec.live) continue;
    const absl::Status status = spec.parse(value, &updated);
    A8A_CHECK(status.ok(), status.message());
  }
  SetLogLevel(updated.log_level);
  options_ = std::make_shared<const Options>(std::move(updated));
  LogEvent(LogLevel::kInfo, "config_reloaded",
           {{"file", command_line_.config_path},
            {"applied", absl::StrJoin(changes.applied, ",")},
            {"needs_restart", absl::StrJoin(changes.needs_restart, ",")}});
  return changes;
}

}  // namespace a8a::daemon
