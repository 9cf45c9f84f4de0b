#include "daemon/metrics/page.h"

#include <prometheus/text_serializer.h>

#include <iterator>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "daemon/metrics/core_families.h"
#include "daemon/metrics/process_families.h"
#include "kernels/base/version.h"

namespace a8a::daemon {
namespace {

void Append(MetricFamilies from, MetricFamilies* to) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

MetricsPage::MetricsPage(const Deps& deps) : deps_(deps), start_(absl::Now()) {}

MetricFamilies MetricsPage::DaemonFamilies() const {
  MetricFamilies families;
  FamilyMaker build("a8a_build_info", "1, of the version that runs.", prometheus::MetricType::Gauge);
  build.Add(1, {{"version", kVersion}});
  build.MoveTo(&families);
  AddGauge(&families, "a8a_connections", "Connections to a8a.sock.", deps_.connections->Count());
  AddCounter(&families, "a8a_state_saves_total", "Times that the state was written for the next daemon.",
             deps_.keeper->saves_total());
  AddCounter(&families, "a8a_state_save_failures_total", "Times that writing the state failed.",
             deps_.keeper->save_failures_total());
  FamilyMaker serving("a8a_health_serving",
                      "1 while the health service says SERVING, else 0, by its names; all of it is \"all\".",
                      prometheus::MetricType::Gauge);
  for (const auto& [name, serves] : deps_.health->Serving()) serving.Add(serves ? 1 : 0, {{"name", name}});
  serving.MoveTo(&families);
  return families;
}

std::string MetricsPage::Render() const {
  const Caller everything = {.identity = {}, .administrator = true};
  MetricFamilies families = DaemonFamilies();
  Append(CoreFamilies(deps_.core->Snapshot(everything, /*group_id=*/0), deps_.rank_max), &families);
  Append(deps_.instruments->Collect(), &families);
  Append(ProcessFamilies(start_), &families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace a8a::daemon
