// Takes snapshots for the Stat service: the core's, completed by what the process knows about itself. Thread-safe.
#ifndef A8A_DAEMON_STATS_READER_H_
#define A8A_DAEMON_STATS_READER_H_

#include <cstdint>

#include "a8a/v1/stat_service.pb.h"
#include "absl/time/time.h"
#include "daemon/core/core.h"
#include "daemon/health.h"

namespace a8a::daemon {

// Resident memory of this process; 0 if /proc is not mounted.
[[nodiscard]] std::int64_t ResidentBytes();

class StatsReader {
 public:
  // `core` and `health` outlive the reader.
  StatsReader(const Core* core, const Health* health, std::uint64_t daemon_instance_id);

  // As Core::Snapshot.
  void Read(const Caller& caller, std::uint64_t group_id, v1::Stats* stats) const;

 private:
  const Core* const core_;
  const Health* const health_;
  const std::uint64_t daemon_instance_id_;
  const absl::Time start_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_STATS_READER_H_
