// Property tests: random all-to-alls, in random sequences of one-shot, Prepare and prepared ones, against the oracle.
#include <algorithm>
#include <array>

#include "gtest/gtest.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"

namespace a8a::kernels::test {
namespace {

using host::AllToAll;
using host::Plan;
using host::Prepare;

constexpr int kWindowCount = 3;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kEffort = 1;
#else
constexpr int kEffort = 4;
#endif

// One collective call. Prepare makes plan `window`, which prepared all-to-alls into that window use.
struct Step {
  enum Kind { kOneShot, kPrepare, kPrepared } kind;
  int window;
};

std::vector<Step> RandomSteps(Random& random, int count) {
  std::vector<Step> steps;
  std::array<bool, kWindowCount> prepared = {};
  for (int i = 0; i < count; ++i) {
    const auto window = static_cast<std::size_t>(Uniform(random, 0, kWindowCount - 1));
    auto kind = static_cast<Step::Kind>(Uniform(random, 0, 2));
    if (kind == Step::kPrepared && !prepared[window]) kind = Step::kPrepare;
    if (kind == Step::kPrepare) prepared[window] = true;
    steps.push_back({kind, static_cast<int>(window)});
  }
  return steps;
}

// Runs the steps as one rank of a group, as an application would: an output is read before the channel's next
// all-to-all, and nothing else is promised.
class RankRun {
 public:
  RankRun(const TestGroup& group, int rank, int channel, const Case& a_case, const std::vector<Step>& steps)
      : group_(group),
        rank_(rank),
        launch_(a_case.ranks[static_cast<std::size_t>(rank)], group.group(rank), channel),
        steps_(steps) {}

  // expected[step][rank]
  void Run(const std::vector<std::vector<std::vector<std::byte>>>& expected, int first_window) {
    first_window_ = first_window;
    RunSteps(expected);
    // The others would wait for this rank at every step.
    if (testing::Test::HasFatalFailure()) {
      host::AbortGroup(group_.control(), group_.control_layout(), AbortReason::kAbortedByRank, rank_);
    }
  }

 private:
  void RunSteps(const std::vector<std::vector<std::vector<std::byte>>>& expected) {
    if (Moves(0)) Poison(0);
    for (std::size_t step = 0; step < steps_.size(); ++step) {
      // A peer may store the rows of the next step as soon as this one has been started here, except into the window
      // that was written last.
      if (Moves(step) && steps_[step].window == last_window_) Poison(step);
      const int last_window = Moves(step) ? steps_[step].window : last_window_;
      if (Moves(step + 1) && steps_[step + 1].window != last_window) Poison(step + 1);
      const absl::Status status = Execute(step);
      ASSERT_TRUE(status.ok()) << "step " << step << ", rank " << rank_ << ": " << status.ToString();
      last_window_ = last_window;
      if (!Moves(step)) continue;
      ASSERT_EQ(FirstDifference(Window(step), expected[step][static_cast<std::size_t>(rank_)]), "")
          << "step " << step << " of kind " << steps_[step].kind << ", rank " << rank_;
    }
  }

  [[nodiscard]] bool Moves(std::size_t step) const {
    return step < steps_.size() && steps_[step].kind != Step::kPrepare;
  }
  [[nodiscard]] int WindowIndex(std::size_t step) const { return first_window_ + steps_[step].window; }
  [[nodiscard]] std::span<std::byte> Window(std::size_t step) const { return group_.Part(rank_, WindowIndex(step)); }
  void Poison(std::size_t step) const { std::ranges::fill(Window(step), kPoison); }

  absl::Status Execute(std::size_t step) {
    Plan& plan = plans_[static_cast<std::size_t>(steps_[step].window)];
    const std::byte* input = launch_.FillInput(static_cast<int>(step));
    switch (steps_[step].kind) {
      case Step::kOneShot:
        return AllToAll(launch_.Params(group_.window(rank_, WindowIndex(step))));
      case Step::kPrepare:
        return Prepare(launch_.Params(group_.window(rank_, WindowIndex(step))), &plan);
      case Step::kPrepared:
        return AllToAll(plan, input, kLongTimeoutNs);
    }
    return absl::InternalError("no such kind");
  }

  const TestGroup& group_;
  int rank_;
  Launch launch_;
  const std::vector<Step>& steps_;
  std::array<Plan, kWindowCount> plans_;
  int first_window_ = 0;
  int last_window_ = -1;
};

// A channel's work: a case, steps, and what they leave behind.
struct Work {
  Case a_case;
  std::vector<Step> steps;
  std::vector<std::vector<std::vector<std::byte>>> expected;
};

Work MakeWork(Random& random, int world_size, int step_count) {
  Work work{MakeRandomCase(random, world_size), RandomSteps(random, step_count), {}};
  for (int step = 0; step < step_count; ++step) work.expected.push_back(Expected(work.a_case, step));
  return work;
}

// Every channel with its own case and windows; every rank and channel on its own thread.
void RunChannels(Random& random, int world_size, int channel_count, int step_count) {
  std::vector<Work> works;
  std::vector<std::vector<std::int64_t>> windows;
  for (int channel = 0; channel < channel_count; ++channel) {
    works.push_back(MakeWork(random, world_size, step_count));
    windows.insert(windows.end(), kWindowCount, works.back().a_case.WindowSizes());
  }
  TestGroup group(world_size, channel_count, windows);
  std::vector<int> threads;
  for (int i = 0; i < world_size * channel_count; ++i) threads.push_back(i);
  group.Run(threads, [&](int thread) {
    const int channel = thread / world_size;
    const Work& work = works[static_cast<std::size_t>(channel)];
    RankRun(group, thread % world_size, channel, work.a_case, work.steps).Run(work.expected, channel * kWindowCount);
  });
  EXPECT_EQ(group.CountDamagedGuardBytes(), 0);
}

void RunCases(int case_count, int least_ranks, int most_ranks, int channel_count, int step_count) {
  const std::uint64_t seed = TestSeed();
  Random random(seed);
  for (int i = 0; i < case_count && !testing::Test::HasFailure(); ++i) {
    const int world_size = static_cast<int>(Uniform(random, least_ranks, most_ranks));
    RunChannels(random, world_size, channel_count, step_count);
    // Not a SCOPED_TRACE, which the threads of the ranks do not see.
    EXPECT_FALSE(testing::Test::HasFailure())
        << "A8A_TEST_SEED=" << seed << ", case " << i << ", world_size " << world_size;
  }
}

TEST(RandomAllToAllTest, FewRanksAgreeWithTheOracle) { RunCases(60 * kEffort, 1, 4, 1, 12); }
TEST(RandomAllToAllTest, SomeRanksAgreeWithTheOracle) { RunCases(10 * kEffort, 5, 16, 1, 8); }
TEST(RandomAllToAllTest, ManyRanksAgreeWithTheOracle) { RunCases(kEffort, 17, 63, 1, 5); }
TEST(RandomAllToAllTest, MostRanksAgreeWithTheOracle) { RunCases(1, kMaxWorldSize, kMaxWorldSize, 1, 5); }
TEST(RandomAllToAllTest, ChannelsAreIndependent) { RunCases(5 * kEffort, 2, 4, 4, 12); }

}  // namespace
}  // namespace a8a::kernels::test
