// Durations measured, and what is reported of them.
#ifndef A8A_CLIENT_TOOLS_SAMPLES_H_
#define A8A_CLIENT_TOOLS_SAMPLES_H_

#include <cstdint>
#include <vector>

namespace a8a::tools {

struct Summary {
  std::int64_t count = 0;
  double sum_us = 0;
  double p50_us = 0;
  double p95_us = 0;
  double p99_us = 0;
  double max_us = 0;
};

// Percentiles by nearest rank: the smallest sample that at least that share of the samples does not exceed. All zero
// without samples.
[[nodiscard]] Summary Summarize(std::vector<std::int64_t> samples_ns);

}  // namespace a8a::tools

#endif  // A8A_CLIENT_TOOLS_SAMPLES_H_
