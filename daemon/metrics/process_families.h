// What Prometheus's own client libraries say of every process, under their names.
#ifndef A8A_DAEMON_METRICS_PROCESS_FAMILIES_H_
#define A8A_DAEMON_METRICS_PROCESS_FAMILIES_H_

#include "absl/time/time.h"
#include "daemon/metrics/family.h"

namespace a8a::daemon {

// Values that the system does not give are left out.
[[nodiscard]] MetricFamilies ProcessFamilies(absl::Time start);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_METRICS_PROCESS_FAMILIES_H_
