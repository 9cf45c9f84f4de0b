#include "daemon/stats_reader.h"

#include <unistd.h>

#include <cstdio>
#include <memory>

#include "absl/time/clock.h"
#include "daemon/failpoint.h"
#include "daemon/proto_convert.h"
#include "kernels/base/version.h"

namespace a8a::daemon {

// [proc(5), /proc/pid/statm]
std::int64_t ResidentBytes() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      A8A_FAILPOINT("stats_reader.open", std::fopen("/proc/self/statm", "re")), &std::fclose);
  long long total_pages = 0;
  long long resident_pages = 0;
  if (file == nullptr || std::fscanf(file.get(), "%lld %lld", &total_pages, &resident_pages) != 2) return 0;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

StatsReader::StatsReader(const Core* core, const Health* health, std::uint64_t daemon_instance_id)
    : core_(core), health_(health), daemon_instance_id_(daemon_instance_id), start_(absl::Now()) {}

void StatsReader::Read(const Caller& caller, std::uint64_t group_id, v1::Stats* stats) const {
  const CoreSnapshot snapshot = core_->Snapshot(caller, group_id);
  ToProto(snapshot, stats);
  for (v1::DeviceStats& device : *stats->mutable_devices()) {
    device.set_healthy(health_->DeviceHealthy(device.device().name()));
  }
  v1::DaemonStats* daemon = stats->mutable_daemon();
  daemon->set_daemon_instance_id(daemon_instance_id_);
  daemon->set_version(kVersion);
  daemon->set_pid(::getpid());
  ToProto(absl::Now() - start_, daemon->mutable_uptime());
  daemon->set_draining(snapshot.draining);
  daemon->set_resident_bytes(ResidentBytes());
  daemon->set_sessions_total(snapshot.counters.sessions_total);
  daemon->set_groups_total(snapshot.counters.groups_total);
  daemon->set_sessions_died_total(snapshot.counters.sessions_died_total);
}

}  // namespace a8a::daemon
