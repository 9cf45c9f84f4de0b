#include "daemon/log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/failpoint.h"

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

void LogGrpcMessage(gpr_log_func_args* arguments) {
  const LogLevel level = arguments->severity == GPR_LOG_SEVERITY_ERROR  ? LogLevel::kError
                         : arguments->severity == GPR_LOG_SEVERITY_INFO ? LogLevel::kInfo
                                                                        : LogLevel::kDebug;
  LogEvent(level, "grpc",
           {{"place", absl::StrCat(arguments->file, ":", arguments->line)}, {"message", arguments->message}});
}

// A line for each string of a request that is not UTF-8, which clients can send as many of as they like.
void LogProtobufMessage(google::protobuf::LogLevel, const char* file, int line, const std::string& message) {
  static auto* const throttle = new LogThrottle;
  throttle->Log(LogLevel::kWarning, "protobuf", {{"place", absl::StrCat(file, ":", line)}, {"message", message}});
}

}  // namespace

absl::Status StartLog(LogFormat format, LogLevel level) {
  Log& log = GlobalLog();
  log.format = format;
  try {
    if (A8A_FAILPOINT("log.start_thread", 0) != 0) throw std::system_error(errno, std::generic_category());
    spdlog::init_thread_pool(kQueueLines, /*threads_n=*/1);
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot start the log's thread: ", error.code().message()));
  }
  log.logger =
      std::make_shared<spdlog::async_logger>("a8a", std::make_shared<spdlog::sinks::stderr_sink_mt>(),
                                             spdlog::thread_pool(), spdlog::async_overflow_policy::overrun_oldest);
  log.logger->set_pattern("%v");
  log.logger->set_level(spdlog::level::trace);
  log.logger->flush_on(spdlog::level::trace);
  SetLogLevel(level);
  gpr_set_log_function(&LogGrpcMessage);
  google::protobuf::SetLogHandler(&LogProtobufMessage);
  return absl::OkStatus();
}

void SetLogLevel(LogLevel level) { GlobalLog().level.store(level, std::memory_order_relaxed); }

void StopLog() {
  google::protobuf::SetLogHandler(nullptr);
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
