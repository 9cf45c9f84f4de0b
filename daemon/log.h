// The daemon's log: events with ids, one line for each change of state, none for each message.
//
//   LogEvent(LogLevel::kInfo, "group_ready", {{"group", "7"}, {"ranks", "8"}});
//   text:  2026-11-24T08:37:31.123456Z I group_ready group=7 ranks=8
//   json:  {"time":"2026-11-24T08:37:31.123456Z","level":"info","event":"group_ready","group":"7","ranks":"8"}
//
// Values are strings in both formats and are escaped in one place, so that no client's text can forge a line. Lines go
// to stderr through a queue: a reader that stalls costs the oldest lines, never the daemon's progress.
//
// Process-wide, because a log is. Thread-safe, except that StartLog comes before and StopLog after all other calls;
// events before StartLog and after StopLog are dropped.
#ifndef A8A_DAEMON_LOG_H_
#define A8A_DAEMON_LOG_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

enum class LogFormat { kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarning, kError };

using LogFields = std::vector<std::pair<absl::string_view, std::string>>;

// The logs of gRPC and protobuf go the same way from here on. Errors: RESOURCE_EXHAUSTED (no thread for the writer).
[[nodiscard]] absl::Status StartLog(LogFormat format, LogLevel level);
void SetLogLevel(LogLevel level);
// Writes what is queued and ends the writer.
void StopLog();

void LogEvent(LogLevel level, absl::string_view event, const LogFields& fields);

// The line of an event, without its end.
[[nodiscard]] std::string FormatEvent(LogFormat format, absl::Time time, LogLevel level, absl::string_view event,
                                      const LogFields& fields);

// Holds back an event that a client can provoke at will: one line a second, with the number of those held back.
class LogThrottle {
 public:
  // Logs the event, with "suppressed" added where lines were held back, unless the last one is younger than a second.
  void Log(LogLevel level, absl::string_view event, LogFields fields);

 private:
  Mutex mutex_;
  absl::Time next_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::int64_t suppressed_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_LOG_H_
