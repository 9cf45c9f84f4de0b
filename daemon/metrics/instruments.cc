#include "daemon/metrics/instruments.h"

namespace a8a::daemon {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildHistogram;

// From what a quick call takes to the half second after which one is refused, and to what allocations of many gigabytes
// take.
const prometheus::Histogram::BucketBoundaries& RpcBuckets() {
  static const auto* const buckets = new prometheus::Histogram::BucketBoundaries{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60};
  return *buckets;
}

// A loop that is busy for a millisecond is worth a look, one for a second is a fault.
const prometheus::Histogram::BucketBoundaries& LagBuckets() {
  static const auto* const buckets =
      new prometheus::Histogram::BucketBoundaries{0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10};
  return *buckets;
}

Instruments::Observer ObserveInto(prometheus::Histogram* histogram) {
  return [histogram](absl::Duration duration) { histogram->Observe(absl::ToDoubleSeconds(duration)); };
}

}  // namespace

Instruments::Instruments()
    : rpcs_(BuildCounter()
                .Name("a8a_rpcs_total")
                .Help("Calls that were answered, and streams that have ended, by method and gRPC code.")
                .Register(registry_)),
      rpc_seconds_(BuildHistogram()
                       .Name("a8a_rpc_duration_seconds")
                       .Help("From a unary call's arrival to its answer; JoinGroup and RegisterWindow wait for other "
                             "ranks.")
                       .Register(registry_)),
      loop_seconds_(BuildHistogram()
                        .Name("a8a_loop_lag_seconds")
                        .Help("How long an event may have waited for its thread: how long the loop was busy with those "
                              "before it, or how late a timer ran.")
                        .Register(registry_)),
      executor_seconds_(BuildHistogram()
                            .Name("a8a_executor_wait_seconds")
                            .Help("How long work waited for a thread after its turn had come.")
                            .Register(registry_)),
      connections_refused_(BuildCounter()
                               .Name("a8a_connections_refused_total")
                               .Help("Connections that were closed because of a limit or of who made them.")
                               .Register(registry_)),
      requests_refused_(BuildCounter()
                            .Name("a8a_requests_refused_total")
                            .Help("Calls that were refused because of request_rate_max_per_uid.")
                            .Register(registry_)
                            .Add({})) {
  for (const char* socket : {"a8a.sock", "fd.sock"}) connections_refused_.Add({{"socket", socket}});
}

Instruments::Observer Instruments::LoopBusy(const std::string& loop) {
  return ObserveInto(&loop_seconds_.Add({{"loop", loop}}, LagBuckets()));
}

Instruments::Observer Instruments::TimerLateness() { return LoopBusy("timers"); }

Instruments::Observer Instruments::ExecutorWait(const std::string& executor) {
  return ObserveInto(&executor_seconds_.Add({{"executor", executor}}, LagBuckets()));
}

void Instruments::CountRpc(const std::string& method, const std::string& code, absl::Duration duration) {
  CountStream(method, code);
  rpc_seconds_.Add({{"method", method}}, RpcBuckets()).Observe(absl::ToDoubleSeconds(duration));
}

void Instruments::CountStream(const std::string& method, const std::string& code) {
  rpcs_.Add({{"method", method}, {"code", code}}).Increment();
}

}  // namespace a8a::daemon
