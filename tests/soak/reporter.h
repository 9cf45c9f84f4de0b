// What a rank of the soak tells its driver: one JSON object a line on standard output, and counters that a line each
// second carries. Thread-safe.
#ifndef A8A_TESTS_SOAK_REPORTER_H_
#define A8A_TESTS_SOAK_REPORTER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"

namespace a8a::soak {

struct Counters {
  std::atomic<std::int64_t> all_to_alls = 0;
  std::atomic<std::int64_t> prepares = 0;
  std::atomic<std::int64_t> bytes_checked = 0;
  std::atomic<std::int64_t> windows = 0;
  std::atomic<std::int64_t> buffers = 0;
};

class Reporter {
 public:
  void Say(nlohmann::json line) {
    // Of the clock that the driver reads as well.
    line["ns"] =
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
            .count();
    const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    const std::lock_guard lock(mutex_);
    std::cout << text << std::flush;
  }

  void SayError(nlohmann::json line, const absl::Status& status) {
    line["event"] = "error";
    line["code"] = absl::StatusCodeToString(status.code());
    line["text"] = std::string(status.message());
    Say(std::move(line));
  }

  Counters counters;

 private:
  std::mutex mutex_;
};

}  // namespace a8a::soak

#endif  // A8A_TESTS_SOAK_REPORTER_H_
