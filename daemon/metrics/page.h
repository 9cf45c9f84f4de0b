// The page that a scrape gets. Thread-safe.
#ifndef A8A_DAEMON_METRICS_PAGE_H_
#define A8A_DAEMON_METRICS_PAGE_H_

#include <string>

#include "absl/time/time.h"
#include "daemon/connection_registry.h"
#include "daemon/core/core.h"
#include "daemon/health.h"
#include "daemon/metrics/family.h"
#include "daemon/metrics/instruments.h"
#include "daemon/runtime_keeper.h"

namespace a8a::daemon {

class MetricsPage {
 public:
  // All of it outlives the page.
  struct Deps {
    const Core* core = nullptr;
    const Health* health = nullptr;
    const ConnectionRegistry* connections = nullptr;
    const RuntimeKeeper* keeper = nullptr;
    const Instruments* instruments = nullptr;
    int rank_max = 0;
  };
  explicit MetricsPage(const Deps& deps);

  // In Prometheus's text format 0.0.4. Costs what GetStats costs, and a look at the daemon's descriptors.
  [[nodiscard]] std::string Render() const;

  static constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

 private:
  [[nodiscard]] MetricFamilies DaemonFamilies() const;

  const Deps deps_;
  const absl::Time start_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_METRICS_PAGE_H_
