// Property tests: random all-to-alls, in random sequences of one-shot, Prepare and prepared ones, without a pause on
// the host in between, against the oracle.
#include <cuda_runtime_api.h>

#include <array>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/gpu/device_case.h"
#include "tests/gpu/gpu_group.h"

namespace a8a::kernels::test {
namespace {

constexpr int kWindowCount = 3;

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

// Runs the steps as one rank, all on one stream; what each step leaves in its window is copied away by the stream and
// looked at when all is over.
class RankRun {
 public:
  RankRun(GpuGroup& group, int channel, const Case& a_case, const std::vector<Step>& steps, cuda::Stream stream)
      : group_(group),
        channel_(channel),
        case_(a_case),
        steps_(steps),
        stream_(stream),
        window_bytes_(a_case.ranks[static_cast<std::size_t>(group.rank())].window_bytes),
        data_(a_case.ranks[static_cast<std::size_t>(group.rank())], group, channel),
        snapshots_(static_cast<std::size_t>(window_bytes_) * steps.size()),
        plan_memory_(kWindowCount * cuda::kPlanBytes) {
    for (int w = 0; w < kWindowCount; ++w) {
      windows_.push_back(SizedWindow(group, FirstWindow() + w, a_case));
      plans_[static_cast<std::size_t>(w)].device = plan_memory_.get() + static_cast<std::size_t>(w) * cuda::kPlanBytes;
    }
  }

  std::string Launch() {
    if (Moves(0)) PoisonWindow(0);
    int last_window = -1;
    for (std::size_t step = 0; step < steps_.size(); ++step) {
      // A peer may store the rows of the next step as soon as this one has been started here, except into the window
      // that was written last.
      if (Moves(step) && steps_[step].window == last_window) PoisonWindow(step);
      if (Moves(step)) last_window = steps_[step].window;
      if (Moves(step + 1) && steps_[step + 1].window != last_window) PoisonWindow(step + 1);
      const absl::Status status = Execute(step);
      if (!status.ok()) return absl::StrCat("step ", step, ": ", status.ToString());
      if (!Moves(step)) continue;
      A8A_CUDA(cudaMemcpyAsync(Snapshot(step), Part(step), static_cast<std::size_t>(window_bytes_),
                               cudaMemcpyDeviceToDevice, stream_));
    }
    return "";
  }

  std::string Check() {
    A8A_CUDA(cudaStreamSynchronize(stream_));
    const absl::Status status = cuda::TakeStatus(group_.view(), channel_);
    if (!status.ok()) return status.ToString();
    for (std::size_t step = 0; step < steps_.size(); ++step) {
      if (!Moves(step)) continue;
      const auto expected = Expected(case_, static_cast<int>(step));
      const std::string difference = FirstDifference(ReadBack(Snapshot(step), window_bytes_, stream_),
                                                     expected[static_cast<std::size_t>(group_.rank())]);
      if (!difference.empty()) return absl::StrCat("step ", step, ", kind ", steps_[step].kind, ": ", difference);
    }
    return "";
  }

 private:
  [[nodiscard]] int FirstWindow() const { return channel_ * kWindowCount; }
  [[nodiscard]] bool Moves(std::size_t step) const {
    return step < steps_.size() && steps_[step].kind != Step::kPrepare;
  }
  [[nodiscard]] std::byte* Part(std::size_t step) const { return group_.part(FirstWindow() + steps_[step].window); }
  [[nodiscard]] std::byte* Snapshot(std::size_t step) const {
    return snapshots_.get() + step * static_cast<std::size_t>(window_bytes_);
  }
  void PoisonWindow(std::size_t step) const { Poison(Part(step), window_bytes_, stream_); }

  absl::Status Execute(std::size_t step) {
    const auto w = static_cast<std::size_t>(steps_[step].window);
    const std::byte* input = data_.FillInput(static_cast<int>(step), stream_);
    switch (steps_[step].kind) {
      case Step::kOneShot:
        return cuda::AllToAll(data_.Params(windows_[w]), stream_);
      case Step::kPrepare:
        return cuda::Prepare(data_.Params(windows_[w]), &plans_[w], stream_);
      case Step::kPrepared:
        return cuda::AllToAll(plans_[w], input, kLongTimeoutNs, stream_);
    }
    return absl::InternalError("no such kind");
  }

  GpuGroup& group_;
  int channel_;
  const Case& case_;
  const std::vector<Step>& steps_;
  cuda::Stream stream_;
  std::int64_t window_bytes_;
  DeviceCase data_;
  DeviceBuffer snapshots_;
  DeviceBuffer plan_memory_;
  std::vector<WindowView> windows_;
  std::array<cuda::Plan, kWindowCount> plans_;
};

std::string Describe(const RowLayout& layout) {
  return absl::StrCat("[", layout.outer_size, ", ", layout.inner_size, "] strides [", layout.outer_stride_bytes, ", ",
                      layout.inner_stride_bytes, "] rows of ", layout.row_bytes);
}

std::string Describe(const Case& a_case, const std::vector<Step>& steps) {
  std::string text = "; steps";
  for (const Step& step : steps) absl::StrAppend(&text, " ", step.kind, "/", step.window);
  for (const RankCase& rank : a_case.ranks) {
    absl::StrAppend(&text, "\n  input ", Describe(rank.input_layout), " splits ", absl::StrJoin(rank.input_splits, ","),
                    " offsets ", absl::StrJoin(rank.input_offsets, ","), " misaligned ", rank.misalign_bytes,
                    "; output at ", rank.output_offset_bytes, " ", Describe(rank.output_layout), " offsets ",
                    absl::StrJoin(rank.output_offsets, ","));
  }
  return text;
}

// One case for each channel, on its own stream, all at once.
std::string RunCase(GpuGroup& group, Random& random, int step_count) {
  const int channels = group.options().channel_count;
  std::vector<Case> cases;
  std::vector<std::vector<Step>> steps;
  for (int channel = 0; channel < channels; ++channel) {
    cases.push_back(MakeRandomCase(random, group.world_size()));
    steps.push_back(RandomSteps(random, step_count));
  }
  std::vector<cudaStream_t> streams(cases.size());
  std::vector<std::unique_ptr<RankRun>> runs;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    A8A_CUDA(cudaStreamCreateWithFlags(&streams[i], cudaStreamNonBlocking));
    runs.push_back(std::make_unique<RankRun>(group, static_cast<int>(i), cases[i], steps[i], streams[i]));
  }
  for (const auto& run : runs) {
    if (std::string failure = run->Launch(); !failure.empty()) return failure;
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (std::string failure = runs[i]->Check(); !failure.empty()) return failure + Describe(cases[i], steps[i]);
  }
  group.Barrier();
  for (cudaStream_t stream : streams) A8A_CUDA(cudaStreamDestroy(stream));
  return "";
}

// Time-sliced ranks wait for each other's slice, milliseconds at a time: fewer cases.
int Effort() { return UnderMps() ? 4 : 1; }

void RunCases(int world_size, const GpuGroupOptions& options, int case_count, int step_count) {
  if (const std::string why = WhyNoGpu(); !why.empty()) GTEST_SKIP() << why;
  const std::uint64_t seed = TestSeed();
  const std::string failure = RunRanks(world_size, options, [&](GpuGroup& group) -> std::string {
    Random random(seed);
    for (int i = 0; i < case_count; ++i) {
      const std::string wrong = RunCase(group, random, step_count);
      if (!wrong.empty()) return absl::StrCat("A8A_TEST_SEED=", seed, ", case ", i, ": ", wrong);
    }
    return "";
  });
  EXPECT_EQ(failure, "");
}

GpuGroupOptions Options(int block_count, int channel_count = 1) {
  return {.block_count = block_count, .channel_count = channel_count, .window_count = channel_count * kWindowCount};
}

TEST(GpuRandomTest, OneRankAgreesWithTheOracle) { RunCases(1, Options(3), 10 * Effort(), 10); }
TEST(GpuRandomTest, TwoRanksAgreeWithTheOracle) { RunCases(2, Options(8), 10 * Effort(), 12); }
TEST(GpuRandomTest, ThreeRanksAgreeWithTheOracle) { RunCases(3, Options(5), 5 * Effort(), 12); }
TEST(GpuRandomTest, EightRanksAgreeWithTheOracle) { RunCases(8, Options(4), 3 * Effort(), 10); }
TEST(GpuRandomTest, ChannelsAreIndependent) { RunCases(2, Options(4, 3), 3 * Effort(), 10); }

}  // namespace
}  // namespace a8a::kernels::test
