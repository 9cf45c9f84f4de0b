// What happened between two snapshots: what `a8actl top` shows.
#ifndef A8A_CLIENT_TOOLS_CTL_RATES_H_
#define A8A_CLIENT_TOOLS_CTL_RATES_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "a8a/v1/stat_service.pb.h"
#include "client/tools/ctl/table.h"

namespace a8a::ctl {

// Rates are per second. A wait share is time waited by time passed; it exceeds 1 where channels wait at once.
struct RankRates {
  int rank = 0;
  double all_to_alls = 0;
  double rows_sent = 0;
  double bytes_sent = 0;
  double credit_wait_share = 0;
  double done_wait_share = 0;
  double done_wait_p99_ns = 0;  // the upper end of its bucket
  double errors = 0;
};

struct GroupRates {
  std::uint64_t group_id = 0;
  std::string name;
  std::string state;
  std::vector<RankRates> ranks = {};
  RankRates total = {};  // sums; all-to-alls and wait shares are means over the ranks, p99 is the largest
  // The rank that waits least for the others, and so is waited for; -1 where no rank stands out.
  int slowest_rank = -1;
};

struct Rates {
  double seconds = 0;
  std::vector<GroupRates> groups;  // most bytes first
};

// What only `now` has counts from zero. If another daemon answers by now, there are no rates yet.
[[nodiscard]] Rates ComputeRates(const v1::Stats& before, const v1::Stats& now);

[[nodiscard]] std::string RatesView(const Rates& rates, const v1::Stats& now, const Style& style);
[[nodiscard]] nlohmann::ordered_json RatesJson(const Rates& rates);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_RATES_H_
