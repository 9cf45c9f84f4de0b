#include "tests/unit/kernels/case_run.h"

#include <algorithm>
#include <numeric>

#include "gtest/gtest.h"

namespace a8a::kernels::test {
namespace {

constexpr int kMostWindows = 3;

}  // namespace

CaseRun::CaseRun(const TestGroup& group, const Case& a_case, int channel)
    : group_(group), case_(a_case), channel_(channel) {
  for (int rank = 0; rank < a_case.world_size(); ++rank) {
    launches_.emplace_back(a_case.ranks[static_cast<std::size_t>(rank)], group.group(rank), channel);
    for (int window = 0; window < kMostWindows; ++window) plans_[{rank, window}] = {};
  }
}

AllToAllParams CaseRun::Params(int rank, int window, std::int64_t timeout_ns) {
  AllToAllParams params = launches_[static_cast<std::size_t>(rank)].Params(group_.window(rank, window));
  params.timeout_ns = timeout_ns;
  return params;
}

absl::Status CaseRun::OneShotOn(int rank, int window, int round, std::int64_t timeout_ns) {
  launches_[static_cast<std::size_t>(rank)].FillInput(round);
  return host::AllToAll(Params(rank, window, timeout_ns));
}

absl::Status CaseRun::PrepareOn(int rank, int window, std::int64_t timeout_ns) {
  return host::Prepare(Params(rank, window, timeout_ns), &plans_.at({rank, window}));
}

absl::Status CaseRun::PreparedOn(int rank, int window, int round, std::int64_t timeout_ns) {
  const std::byte* input = launches_[static_cast<std::size_t>(rank)].FillInput(round);
  return host::AllToAll(plans_.at({rank, window}), input, timeout_ns);
}

Statuses CaseRun::OneShot(int window, int round) {
  Poison(window);
  return Run([&](int rank) { return OneShotOn(rank, window, round); });
}

Statuses CaseRun::Prepare(int window) {
  return Run([&](int rank) { return PrepareOn(rank, window); });
}

Statuses CaseRun::Prepared(int window, int round) {
  Poison(window);
  return Run([&](int rank) { return PreparedOn(rank, window, round); });
}

Statuses CaseRun::Run(const std::function<absl::Status(int rank)>& body) {
  return Run(RanksWithout(group_.world_size(), {}), body);
}

Statuses CaseRun::Run(const std::vector<int>& ranks, const std::function<absl::Status(int rank)>& body) {
  Statuses statuses(static_cast<std::size_t>(group_.world_size()));
  group_.Run(ranks, [&](int rank) {
    const absl::Status status = body(rank);
    statuses[static_cast<std::size_t>(rank)] = status.ToString();
    EXPECT_EQ(host::TakeStatus(group_.group(rank), channel_), status);
  });
  return statuses;
}

void CaseRun::Poison(int window) const {
  for (int rank = 0; rank < group_.world_size(); ++rank) Poison(rank, window);
}

void CaseRun::ExpectMoved(int rank, int window, int round) const {
  EXPECT_EQ(FirstDifference(group_.Part(rank, window), Expected(case_, round)[static_cast<std::size_t>(rank)]), "")
      << "in window " << window << " of rank " << rank;
}

void CaseRun::ExpectMoved(int window, int round) const {
  for (int rank = 0; rank < group_.world_size(); ++rank) ExpectMoved(rank, window, round);
  EXPECT_EQ(group_.CountDamagedGuardBytes(), 0);
}

void CaseRun::ExpectUntouched(int rank, int window) const {
  const std::span<const std::byte> part = group_.Part(rank, window);
  EXPECT_EQ(FirstDifference(part, std::vector<std::byte>(part.size(), kPoison)), "")
      << "in window " << window << " of rank " << rank;
}

std::vector<int> RanksWithout(int world_size, const std::vector<int>& without) {
  std::vector<int> ranks(static_cast<std::size_t>(world_size));
  std::iota(ranks.begin(), ranks.end(), 0);
  std::erase_if(ranks, [&](int rank) { return std::ranges::count(without, rank) > 0; });
  return ranks;
}

}  // namespace a8a::kernels::test
