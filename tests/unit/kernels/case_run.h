// Runs a case on a group, call by call, and compares what it leaves behind with the oracle.
#ifndef A8A_TESTS_UNIT_KERNELS_CASE_RUN_H_
#define A8A_TESTS_UNIT_KERNELS_CASE_RUN_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"

namespace a8a::kernels::test {

// Status texts by rank, "OK" included.
using Statuses = std::vector<std::string>;

class CaseRun {
 public:
  // Every window of `group` has the sizes of the case.
  CaseRun(const TestGroup& group, const Case& a_case, int channel = 0);

  // One rank's call, on the calling thread. The input is that of `round`.
  absl::Status OneShotOn(int rank, int window, int round, std::int64_t timeout_ns = kLongTimeoutNs);
  absl::Status PrepareOn(int rank, int window, std::int64_t timeout_ns = kLongTimeoutNs);
  // By the plan that PrepareOn made for this window.
  absl::Status PreparedOn(int rank, int window, int round, std::int64_t timeout_ns = kLongTimeoutNs);

  // The same on every rank at once; outputs are poisoned first. Each status is compared with TakeStatus.
  Statuses OneShot(int window, int round);
  Statuses Prepare(int window);
  Statuses Prepared(int window, int round);
  // body(rank) on all ranks or some, each status compared with TakeStatus.
  Statuses Run(const std::vector<int>& ranks, const std::function<absl::Status(int rank)>& body);
  Statuses Run(const std::function<absl::Status(int rank)>& body);

  // A rank's launch, for parameters that no case has.
  AllToAllParams Params(int rank, int window, std::int64_t timeout_ns = kLongTimeoutNs);

  void Poison(int window) const;
  void Poison(int rank, int window) const { std::ranges::fill(group_.Part(rank, window), kPoison); }
  // All ranks' parts, and the guard bytes.
  void ExpectMoved(int window, int round) const;
  void ExpectMoved(int rank, int window, int round) const;
  void ExpectUntouched(int rank, int window) const;

 private:
  const TestGroup& group_;
  const Case& case_;
  int channel_;
  std::vector<Launch> launches_;
  std::map<std::pair<int, int>, host::Plan> plans_;  // by rank and window; made up front, so that ranks share no state
};

// Ranks [0, world_size), those in `without` left out.
std::vector<int> RanksWithout(int world_size, const std::vector<int>& without);

}  // namespace a8a::kernels::test

#endif  // A8A_TESTS_UNIT_KERNELS_CASE_RUN_H_
