#include "client/tools/samples.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace a8a::tools {
namespace {

constexpr double kNanosecondsPerMicrosecond = 1e3;

// ceil(count * percent / 100), counted from 1, in integers: floating point would round 95% of 20 up to 20.
double NearestRank(const std::vector<std::int64_t>& sorted_ns, std::size_t percent) {
  const std::size_t rank = (sorted_ns.size() * percent + 99) / 100;
  return static_cast<double>(sorted_ns[std::max<std::size_t>(rank, 1) - 1]) / kNanosecondsPerMicrosecond;
}

}  // namespace

Summary Summarize(std::vector<std::int64_t> samples_ns) {
  if (samples_ns.empty()) return {};
  std::sort(samples_ns.begin(), samples_ns.end());
  const std::int64_t sum_ns = std::accumulate(samples_ns.begin(), samples_ns.end(), std::int64_t{0});
  return Summary{.count = static_cast<std::int64_t>(samples_ns.size()),
                 .sum_us = static_cast<double>(sum_ns) / kNanosecondsPerMicrosecond,
                 .p50_us = NearestRank(samples_ns, 50),
                 .p95_us = NearestRank(samples_ns, 95),
                 .p99_us = NearestRank(samples_ns, 99),
                 .max_us = NearestRank(samples_ns, 100)};
}

}  // namespace a8a::tools
