#include "daemon/log.h"

#include <grpc/support/log.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace a8a::daemon {
namespace {

// Lines that wait for stderr. A burst (64 groups that end at once) is a few hundred; each slot costs about 400 bytes.
constexpr std::size_t kQueueLines = 2048;
constexpr absl::Duration kThrottleInterval = absl::Seconds(1);

struct Log {
  std::shared_ptr<spdlog::logger> logger;
  LogFormat format = LogFormat::kText;
  std::atomic<LogLevel> level{LogLevel::kInfo};
};

Log& GlobalLog() {
  static Log log;
  return log;
}

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

char LevelLetter(LogLevel level) { return "DIWE"[static_cast<int>(level)]; }

// Length in bytes of the UTF-8 sequence at the start of `text`; 0 if there is no valid one. [RFC 3629, section 4]
std::size_t Utf8Length(absl::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto continues = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    return continues(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    return continues(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

// A JSON string, which the text format uses for values that are not plain words too.
std::string Quote(absl::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const std::size_t length = Utf8Length(text);
    const unsigned char c = static_cast<unsigned char>(text.front());
    if (length == 0) {
      absl::StrAppend(&quoted, "\\ufffd");
    } else if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", text.substr(0, 1));
    } else if (c < 0x20 || c == 0x7f) {
      absl::StrAppend(&quoted, absl::StrFormat("\\u%04x", c));
    } else {
      absl::StrAppend(&quoted, text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return quoted + "\"";
}

bool IsPlainWord(absl::string_view text) {
  for (const char c : text) {
    if (c <= ' ' || c > '~' || c == '"' || c == '=' || c == '\\') return false;
  }
  return !text.empty();
}

std::string Timestamp(absl::Time time) { return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone()); }

std::string FormatText(absl::Time time, LogLevel level, absl::string_view event, const LogFields& fields) {
  std::string line = absl::StrFormat("%s %c %s", Timestamp(time), LevelLetter(level), event);
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&line, " ", name, "=", IsPlainWord(value) ? value : Quote(value));
  }
  return line;
}

std::string FormatJson(absl::Time time, LogLevel level, absl::string_view event, const LogFields& fields) {
  std::string line =
      absl::StrCat("{\"time\":\"", Timestamp(time), "\",\"level\":\"", LevelName(level), "\",\"event\":", Quote(event));
  for (const auto& [name, value] : fields) absl::StrAppend(&line, ",", Quote(name), ":", Quote(value));
  return line + "}";
}

void LogGrpcMessage(gpr_log_func_args* arguments) {
  const LogLevel level = arguments->severity == GPR_LOG_SEVERITY_ERROR  ? LogLevel::kError
                         : arguments->severity == GPR_LOG_SEVERITY_INFO ? LogLevel::kInfo
                                                                        : LogLevel::kDebug;
  LogEvent(level, "grpc",
           {{"place", absl::StrCat(arguments->file, ":", arguments->line)}, {"message", arguments->message}});
}

}  // namespace

void StartLog(LogFormat format, LogLevel level) {
  Log& log = GlobalLog();
  log.format = format;
  spdlog::init_thread_pool(kQueueLines, /*threads_n=*/1);
  log.logger =
      std::make_shared<spdlog::async_logger>("a8a", std::make_shared<spdlog::sinks::stderr_sink_mt>(),
                                             spdlog::thread_pool(), spdlog::async_overflow_policy::overrun_oldest);
  log.logger->set_pattern("%v");
  log.logger->set_level(spdlog::level::trace);
  log.logger->flush_on(spdlog::level::trace);
  SetLogLevel(level);
  gpr_set_log_function(&LogGrpcMessage);
}

void SetLogLevel(LogLevel level) { GlobalLog().level.store(level, std::memory_order_relaxed); }

void StopLog() {
  gpr_set_log_function(nullptr);
  GlobalLog().logger.reset();
  // Joins the writer once the queue is empty.
  spdlog::shutdown();
}

void LogEvent(LogLevel level, absl::string_view event, const LogFields& fields) {
  Log& log = GlobalLog();
  if (log.logger == nullptr || level < log.level.load(std::memory_order_relaxed)) return;
  const std::string line = FormatEvent(log.format, absl::Now(), level, event, fields);
  log.logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

std::string FormatEvent(LogFormat format, absl::Time time, LogLevel level, absl::string_view event,
                        const LogFields& fields) {
  return format == LogFormat::kJson ? FormatJson(time, level, event, fields) : FormatText(time, level, event, fields);
}

void LogThrottle::Log(LogLevel level, absl::string_view event, LogFields fields) {
  {
    const MutexLock lock(&mutex_);
    const absl::Time now = absl::Now();
    if (now < next_) {
      ++suppressed_;
      return;
    }
    next_ = now + kThrottleInterval;
    if (suppressed_ > 0) fields.emplace_back("suppressed", absl::StrCat(suppressed_));
    suppressed_ = 0;
  }
  LogEvent(level, event, fields);
}

}  // namespace a8a::daemon
