#include "daemon/metrics/process_families.h"

#include <sys/resource.h>

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <optional>
#include <system_error>

#include "daemon/failpoint.h"
#include "daemon/stats_reader.h"

namespace a8a::daemon {
namespace {

// Counts them; the one that counting takes is not among them.
std::optional<std::int64_t> OpenDescriptors() {
  std::error_code error;
  std::int64_t count = -1;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end; !error && entry != end;
       entry.increment(error)) {
    ++count;
  }
  return error ? std::nullopt : std::optional(count);
}

double ProcessorSeconds() {
  timespec time = {};
  // Cannot fail: the clock is this process's own. [clock_gettime(2)]
  static_cast<void>(::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time));
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace

MetricFamilies ProcessFamilies(absl::Time start) {
  MetricFamilies families;
  AddGauge(&families, "process_start_time_seconds", "When the daemon started, since 1970.",
           absl::ToDoubleSeconds(start - absl::UnixEpoch()));
  AddCounter(&families, "process_cpu_seconds_total", "Processor time of the daemon.", ProcessorSeconds());
  if (const std::int64_t bytes = ResidentBytes(); bytes > 0) {
    AddGauge(&families, "process_resident_memory_bytes", "Resident memory of the daemon, shared pages included.",
             bytes);
  }
  if (const std::optional<std::int64_t> count = OpenDescriptors(); count.has_value()) {
    AddGauge(&families, "process_open_fds", "Descriptors of the daemon.", *count);
  }
  rlimit limit = {};
  if (A8A_FAILPOINT("process_families.getrlimit", ::getrlimit(RLIMIT_NOFILE, &limit)) == 0) {
    AddGauge(&families, "process_max_fds", "Descriptors that the daemon may have.", limit.rlim_cur);
  }
  return families;
}

}  // namespace a8a::daemon
