// What is counted as it happens, between two scrapes. Everything else on the page is read at the scrape.
//
// Thread-safe. Observing takes a lock of its own for some nanoseconds and calls nobody.
#ifndef A8A_DAEMON_METRICS_INSTRUMENTS_H_
#define A8A_DAEMON_METRICS_INSTRUMENTS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace a8a::daemon {

class Instruments {
 public:
  Instruments();
  Instruments(const Instruments&) = delete;
  Instruments& operator=(const Instruments&) = delete;

  using Observer = std::function<void(absl::Duration)>;

  // How long a thread that serves events was busy before it looked at the next: what came meanwhile waited so long.
  // `loop` is one of a handful of constants. The observer lives as long as the instruments.
  [[nodiscard]] Observer LoopBusy(const std::string& loop);
  // How late timers run.
  [[nodiscard]] Observer TimerLateness();
  // How long work waited for a thread of an executor, from when its turn had come.
  [[nodiscard]] Observer ExecutorWait(const std::string& executor);

  // A connection that was refused or dropped at `socket`, "a8a.sock" or "fd.sock".
  void CountConnectionRefused(const std::string& socket) { connections_refused_.Add({{"socket", socket}}).Increment(); }
  void CountRequestRefused() { requests_refused_.Increment(); }

  // A unary call of `method` ("/a8a.v1.GroupService/JoinGroup") has been answered; `code` is gRPC's name of it.
  void CountRpc(const std::string& method, const std::string& code, absl::Duration duration);
  // A stream has ended. Its duration says nothing.
  void CountStream(const std::string& method, const std::string& code);

  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const { return registry_.Collect(); }

 private:
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& rpcs_;
  prometheus::Family<prometheus::Histogram>& rpc_seconds_;
  prometheus::Family<prometheus::Histogram>& loop_seconds_;
  prometheus::Family<prometheus::Histogram>& executor_seconds_;
  prometheus::Family<prometheus::Counter>& connections_refused_;
  prometheus::Counter& requests_refused_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_METRICS_INSTRUMENTS_H_
