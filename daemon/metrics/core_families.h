// A snapshot of the core, as metric families.
#ifndef A8A_DAEMON_METRICS_CORE_FAMILIES_H_
#define A8A_DAEMON_METRICS_CORE_FAMILIES_H_

#include "daemon/core/core.h"
#include "daemon/metrics/family.h"

namespace a8a::daemon {

// `snapshot` is an administrator's, of everything. Groups are shown by rank as long as their ranks, all together, are
// at most `rank_max`.
[[nodiscard]] MetricFamilies CoreFamilies(const CoreSnapshot& snapshot, int rank_max);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_METRICS_CORE_FAMILIES_H_
