// A metric family in the making: what prometheus-cpp's registry makes of instruments, from values that are read at the
// scrape.
#ifndef A8A_DAEMON_METRICS_FAMILY_H_
#define A8A_DAEMON_METRICS_FAMILY_H_

#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

namespace a8a::daemon {

using MetricLabels = std::vector<prometheus::ClientMetric::Label>;
using MetricFamilies = std::vector<prometheus::MetricFamily>;

class FamilyMaker {
 public:
  FamilyMaker(std::string name, std::string help, prometheus::MetricType type)
      : family_{.name = std::move(name), .help = std::move(help), .type = type, .metric = {}} {}

  // One value of a counter or gauge.
  template <typename Number>
  void Add(Number value, MetricLabels labels = {}) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = static_cast<double>(value);
    metric.gauge.value = static_cast<double>(value);
    family_.metric.push_back(std::move(metric));
  }
  void Add(prometheus::ClientMetric::Histogram histogram, MetricLabels labels) {
    prometheus::ClientMetric metric;
    metric.label = std::move(labels);
    metric.histogram = std::move(histogram);
    family_.metric.push_back(std::move(metric));
  }

  // A family without values is left out: its name alone says nothing.
  void MoveTo(MetricFamilies* families) {
    if (!family_.metric.empty()) families->push_back(std::move(family_));
  }

 private:
  prometheus::MetricFamily family_;
};

// The family of a single value without labels.
template <typename Number>
void AddGauge(MetricFamilies* families, std::string name, std::string help, Number value) {
  FamilyMaker maker(std::move(name), std::move(help), prometheus::MetricType::Gauge);
  maker.Add(value);
  maker.MoveTo(families);
}
template <typename Number>
void AddCounter(MetricFamilies* families, std::string name, std::string help, Number value) {
  FamilyMaker maker(std::move(name), std::move(help), prometheus::MetricType::Counter);
  maker.Add(value);
  maker.MoveTo(families);
}

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_METRICS_FAMILY_H_
