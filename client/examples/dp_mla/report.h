// What a run says at its end: a table for people and a JSON object for programs, from the same numbers.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_REPORT_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/examples/dp_mla/job.h"
#include "client/examples/dp_mla/oracle.h"
#include "client/tools/samples.h"

namespace a8a::dp_mla {

// All-to-alls of one direction, or of both. Each time is that of the slowest rank.
struct Traffic {
  tools::Summary times = {};
  std::int64_t rows = 0;   // over all ranks, each row once, a rank's own included
  std::int64_t bytes = 0;  // rows x row_bytes

  // Bytes over the sum of the times.
  [[nodiscard]] double gb_per_s() const;
};

struct RunReport {
  JobConfig config;
  std::string trace;
  double wall_seconds = 0;
  Traffic directions[kDirectionCount] = {};
  Traffic total = {};
  tools::Summary prepares = {};
  std::vector<std::int64_t> overhead_bytes = {};        // by rank: flags and control page
  std::vector<std::int64_t> window_padding_bytes = {};  // by rank: windows beyond what was asked for
  std::int64_t mismatches = 0;                          // rows that differed
  std::optional<Mismatch> first_mismatch = {};

  // Everything that a8a took on top of the windows that were asked for.
  [[nodiscard]] std::int64_t memory_bytes() const;
  // Steps of which at least one all-to-all ran: fewer than were planned where a mismatch ended the run.
  [[nodiscard]] std::int64_t steps_run() const;
};

// Collects what the ranks left in `job`, which none of them uses any more.
[[nodiscard]] RunReport MakeReport(const Job& job, const std::string& trace, double wall_seconds);

// Ends with a newline.
[[nodiscard]] std::string ReportTable(const RunReport& report);
[[nodiscard]] std::string ReportJson(const RunReport& report);
// The object for a run that has no numbers to report: "ok": false and the error.
[[nodiscard]] std::string FailureJson(const std::string& error);

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_REPORT_H_
