// The daemon's log in fuzz targets, in the place of daemon/log.cc: every event becomes a line in both formats, which is
// checked and dropped.
#include "absl/time/clock.h"
#include "daemon/log.h"
#include "tests/fuzz/checks.h"

namespace a8a::daemon {

void LogEvent(LogLevel level, absl::string_view event, const LogFields& fields) {
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    fuzz::CheckOneLine(FormatEvent(format, absl::UnixEpoch(), level, event, fields));
  }
}

void SetLogLevel(LogLevel) {}

// Holds nothing back: what is not logged is not checked.
void LogThrottle::Log(LogLevel level, absl::string_view event, LogFields fields) { LogEvent(level, event, fields); }

}  // namespace a8a::daemon
