// What goes wrong: on both ranks of a pair, within bounds, with a status, and the next epoch works.
#include <cuda_runtime_api.h>

#include <chrono>
#include <functional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "kernels/cuda/fault_class.h"
#include "kernels/host/fault.h"
#include "tests/gpu/device_case.h"
#include "tests/gpu/gpu_group.h"

namespace a8a::kernels::test {
namespace {

constexpr std::int64_t kRowBytes = 48;
constexpr std::int64_t kPartBytes = 64 * kRowBytes;
constexpr std::int64_t kBriefNs = 200'000'000;

// A rank's view of one test: a stream, and launches of cases on it.
class Rank {
 public:
  explicit Rank(GpuGroup& group) : group_(group) {
    A8A_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }

  [[nodiscard]] cudaStream_t stream() const { return stream_; }

  // Launches the one-shot all-to-all of a case into `window`, which is poisoned before.
  absl::Status OneShot(const Case& a_case, int window, std::int64_t timeout_ns = kLongTimeoutNs) {
    DeviceCase data(a_case.ranks[static_cast<std::size_t>(group_.rank())], group_, 0);
    data.FillInput(0, stream_);
    WindowView view = SizedWindow(group_, window, a_case);
    AllToAllParams params = data.Params(view);
    params.timeout_ns = timeout_ns;
    if (absl::Status status = cuda::AllToAll(params, stream_); !status.ok()) return status;
    return Take();
  }

  absl::Status Take() {
    A8A_CUDA(cudaStreamSynchronize(stream_));
    return cuda::TakeStatus(group_.view(), 0);
  }

  void PoisonWindow(int window) {
    Poison(group_.part(window), kPartBytes, stream_);
    A8A_CUDA(cudaStreamSynchronize(stream_));
    group_.Barrier();
  }

  // "" if the window holds what the oracle says, poison elsewhere.
  std::string CheckWindow(const Case& a_case, int window) {
    const auto me = static_cast<std::size_t>(group_.rank());
    std::vector<std::byte> expected = Expected(a_case, 0)[me];
    expected.resize(static_cast<std::size_t>(kPartBytes), kPoison);
    return FirstDifference(ReadBack(group_.part(window), kPartBytes, stream_), expected);
  }

  // A good all-to-all, after something went wrong.
  std::string CheckNextWorks(int window) {
    const Case good = MakeDenseCase(AllRows(3), kRowBytes);
    PoisonWindow(window);
    const absl::Status status = OneShot(good, window);
    if (!status.ok()) return absl::StrCat("the next epoch: ", status.ToString());
    const std::string difference = CheckWindow(good, window);
    return difference.empty() ? "" : absl::StrCat("the next epoch: ", difference);
  }

  [[nodiscard]] std::vector<std::vector<std::int64_t>> AllRows(std::int64_t rows) const {
    const auto size = static_cast<std::size_t>(group_.world_size());
    return std::vector(size, std::vector<std::int64_t>(size, rows));
  }

 private:
  GpuGroup& group_;
  cudaStream_t stream_ = nullptr;
};

std::string Expect(const absl::Status& status, absl::StatusCode code, const std::string& text) {
  if (status.code() == code && absl::StrContains(status.message(), text)) return "";
  return absl::StrCat("expected ", absl::StatusCodeToString(code), " \"", text, "\", got ", status.ToString());
}

void RunTest(int world_size, const std::function<std::string(GpuGroup&)>& body) {
  if (const std::string why = WhyNoGpu(); !why.empty()) GTEST_SKIP() << why;
  EXPECT_EQ(RunRanks(world_size, {.block_count = 3, .window_count = 2, .window_bytes = kPartBytes}, body), "");
}

#define A8A_TEST_RETURN_IF_WRONG(expression)                            \
  do {                                                                  \
    if (std::string wrong = (expression); !wrong.empty()) return wrong; \
  } while (false)

// Rank 0 of three ranks gets `change`; every rank must report what `expected` says for it, or OK.
struct Told {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string text;
};
void RunFaultyOneShot(const std::function<void(Case&)>& change, const std::vector<Told>& expected) {
  RunTest(3, [&](GpuGroup& group) -> std::string {
    Rank rank(group);
    Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    for (RankCase& mine : a_case.ranks) {
      mine.input_layout.inner_size = 8;
      mine.output_layout.inner_size = 8;
      mine.window_bytes = 8 * kRowBytes;
    }
    change(a_case);
    rank.PoisonWindow(0);
    const absl::Status status = rank.OneShot(a_case, 0);
    const Told& told = expected[static_cast<std::size_t>(group.rank())];
    A8A_TEST_RETURN_IF_WRONG(Expect(status, told.code, told.text));
    A8A_TEST_RETURN_IF_WRONG(rank.CheckWindow(a_case, 0));
    return rank.CheckNextWorks(1);
  });
}

TEST(GpuFaultTest, SplitMismatchIsToldByBothRanksAndMovesTheOthers) {
  RunFaultyOneShot([](Case& a_case) { a_case.ranks[0].input_splits[1] = 4; },
                   {{absl::StatusCode::kFailedPrecondition, "rank 0 sends 4 rows to rank 1, which expects 2"},
                    {absl::StatusCode::kFailedPrecondition, "rank 0 sends 4 rows to rank 1, which expects 2"},
                    {}});
}

TEST(GpuFaultTest, NegativeSplitFailsAllPairsOfItsSide) {
  RunFaultyOneShot([](Case& a_case) { a_case.ranks[0].input_splits[1] = -4; },
                   {{absl::StatusCode::kInvalidArgument,
                     "the input splits of rank 0 hold a negative split or offset, -4 for rank 1"},
                    {absl::StatusCode::kInvalidArgument,
                     "the input splits of rank 0 hold a negative split or offset, -4 for rank 1"},
                    {absl::StatusCode::kInvalidArgument,
                     "the input splits of rank 0 hold a negative split or offset, -4 for rank 1"}});
}

TEST(GpuFaultTest, RowsBeyondTheInputAreNotRead) {
  RunFaultyOneShot([](Case& a_case) { a_case.ranks[0].input_splits[2] = 7; },
                   {{absl::StatusCode::kInvalidArgument, "end at row 11, the input view holds 8"},
                    {absl::StatusCode::kInvalidArgument, "end at row 11, the input view holds 8"},
                    {absl::StatusCode::kInvalidArgument, "end at row 11, the input view holds 8"}});
}

TEST(GpuFaultTest, RowsBeyondTheOutputAreNotWritten) {
  RunFaultyOneShot([](Case& a_case) { a_case.ranks[1].output_splits[2] = 7; },
                   {{absl::StatusCode::kOutOfRange, "the output of rank 1 ends at 11, its view or window holds 8"},
                    {absl::StatusCode::kOutOfRange, "the output of rank 1 ends at 11, its view or window holds 8"},
                    {absl::StatusCode::kOutOfRange, "the output of rank 1 ends at 11, its view or window holds 8"}});
}

TEST(GpuFaultTest, OverlappingOutputsAreRefused) {
  RunFaultyOneShot(
      [](Case& a_case) {
        a_case.ranks[2].output_offsets = {0, 2, 3};
      },
      {{absl::StatusCode::kInvalidArgument, "rows from ranks 1 and 2 overlap in the output of rank 2"},
       {absl::StatusCode::kInvalidArgument, "rows from ranks 1 and 2 overlap in the output of rank 2"},
       {absl::StatusCode::kInvalidArgument, "overlap in the output of rank 2"}});
}

TEST(GpuFaultTest, DifferentWindowsAreAMismatch) {
  RunTest(2, [](GpuGroup& group) -> std::string {
    Rank rank(group);
    const Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    rank.PoisonWindow(0);
    rank.PoisonWindow(1);
    A8A_TEST_RETURN_IF_WRONG(
        Expect(rank.OneShot(a_case, group.rank()), absl::StatusCode::kFailedPrecondition, "sends into window"));
    return rank.CheckNextWorks(0);
  });
}

// One rank does not come: the others end with a status, it finds out when it comes late, and its late rows land
// nowhere.
TEST(GpuFaultTest, LateRankIsGivenUpAndStoresNothing) {
  RunTest(3, [](GpuGroup& group) -> std::string {
    Rank rank(group);
    const Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    rank.PoisonWindow(0);
    if (group.rank() != 1) {
      A8A_TEST_RETURN_IF_WRONG(Expect(rank.OneShot(a_case, 0, kBriefNs), absl::StatusCode::kDeadlineExceeded,
                                      absl::StrCat("rank ", group.rank(), " waited 200 ms")));
      group.Barrier();
    } else {
      group.Barrier();
      A8A_TEST_RETURN_IF_WRONG(Expect(rank.OneShot(a_case, 0), absl::StatusCode::kDeadlineExceeded, "gave up"));
    }
    group.Barrier();
    if (group.rank() != 1) {
      // Nothing of rank 1, everything of the other.
      Case without = a_case;
      without.ranks[1].input_splits = {0, 0, 0};
      const std::string difference = rank.CheckWindow(without, 0);
      if (!difference.empty()) return absl::StrCat("after the late rank: ", difference);
    }
    group.Barrier();
    A8A_TEST_RETURN_IF_WRONG(rank.CheckNextWorks(1));
    return rank.CheckNextWorks(0);
  });
}

TEST(GpuFaultTest, PreparedLateRankStoresNothing) {
  RunTest(2, [](GpuGroup& group) -> std::string {
    Rank rank(group);
    const Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    DeviceCase data(a_case.ranks[static_cast<std::size_t>(group.rank())], group, 0);
    DeviceBuffer memory(cuda::kPlanBytes);
    cuda::Plan plan{.device = memory.get(), .params = {}};
    WindowView view = SizedWindow(group, 0, a_case);
    rank.PoisonWindow(0);
    if (absl::Status status = cuda::Prepare(data.Params(view), &plan, rank.stream()); !status.ok()) {
      return status.ToString();
    }
    A8A_TEST_RETURN_IF_WRONG(Expect(rank.Take(), absl::StatusCode::kOk, ""));
    const std::byte* input = data.FillInput(0, rank.stream());
    const auto run = [&](std::int64_t timeout_ns) {
      const absl::Status status = cuda::AllToAll(plan, input, timeout_ns, rank.stream());
      return status.ok() ? rank.Take() : status;
    };
    group.Barrier();
    if (group.rank() == 0) {
      A8A_TEST_RETURN_IF_WRONG(
          Expect(run(kBriefNs), absl::StatusCode::kDeadlineExceeded, "waited 200 ms for the done"));
    }
    group.Barrier();
    if (group.rank() == 1)
      A8A_TEST_RETURN_IF_WRONG(Expect(run(kLongTimeoutNs), absl::StatusCode::kDeadlineExceeded, "gave up"));
    group.Barrier();
    if (group.rank() == 0) {
      Case without = a_case;
      without.ranks[1].input_splits = {0, 0};
      A8A_TEST_RETURN_IF_WRONG(rank.CheckWindow(without, 0));
    }
    rank.PoisonWindow(0);
    A8A_TEST_RETURN_IF_WRONG(Expect(run(kLongTimeoutNs), absl::StatusCode::kOk, ""));
    return rank.CheckWindow(a_case, 0);
  });
}

TEST(GpuFaultTest, PlanRepeatsThePairsThatPrepareRefused) {
  RunTest(3, [](GpuGroup& group) -> std::string {
    Rank rank(group);
    Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    a_case.ranks[0].input_splits = {2, 3, 1};
    a_case.ranks[2].output_splits = {1, 2, 2};
    const bool concerned = group.rank() != 2;
    DeviceCase data(a_case.ranks[static_cast<std::size_t>(group.rank())], group, 0);
    DeviceBuffer memory(cuda::kPlanBytes);
    cuda::Plan plan{.device = memory.get(), .params = {}};
    WindowView view = SizedWindow(group, 0, a_case);
    rank.PoisonWindow(0);
    if (absl::Status status = cuda::Prepare(data.Params(view), &plan, rank.stream()); !status.ok()) {
      return status.ToString();
    }
    const auto code = concerned ? absl::StatusCode::kFailedPrecondition : absl::StatusCode::kOk;
    A8A_TEST_RETURN_IF_WRONG(
        Expect(rank.Take(), code, concerned ? "rank 0 sends 3 rows to rank 1, which expects 2" : ""));
    const std::byte* input = data.FillInput(0, rank.stream());
    if (absl::Status status = cuda::AllToAll(plan, input, kLongTimeoutNs, rank.stream()); !status.ok()) {
      return status.ToString();
    }
    A8A_TEST_RETURN_IF_WRONG(Expect(rank.Take(), code, concerned ? "Prepare found a split mismatch" : ""));
    A8A_TEST_RETURN_IF_WRONG(rank.CheckWindow(a_case, 0));
    return rank.CheckNextWorks(1);
  });
}

TEST(GpuFaultTest, DifferentOperationsAreAMismatch) {
  RunTest(2, [](GpuGroup& group) -> std::string {
    Rank rank(group);
    const Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    DeviceCase data(a_case.ranks[static_cast<std::size_t>(group.rank())], group, 0);
    DeviceBuffer memory(cuda::kPlanBytes);
    cuda::Plan plan{.device = memory.get(), .params = {}};
    WindowView view = SizedWindow(group, 0, a_case);
    if (absl::Status status = cuda::Prepare(data.Params(view), &plan, rank.stream()); !status.ok()) {
      return status.ToString();
    }
    A8A_TEST_RETURN_IF_WRONG(Expect(rank.Take(), absl::StatusCode::kOk, ""));
    absl::Status status;
    if (group.rank() == 0) {
      status = cuda::AllToAll(plan, data.FillInput(0, rank.stream()), kLongTimeoutNs, rank.stream());
    } else {
      status = cuda::AllToAll(data.Params(view), rank.stream());
    }
    if (!status.ok()) return status.ToString();
    A8A_TEST_RETURN_IF_WRONG(Expect(rank.Take(), absl::StatusCode::kFailedPrecondition, "runs"));
    group.Barrier();
    return rank.CheckNextWorks(1);
  });
}

TEST(GpuFaultTest, AbortEndsAWaitAndAllThatFollows) {
  RunTest(2, [](GpuGroup& group) -> std::string {
    Rank rank(group);
    const Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    if (group.rank() == 1) {
      // While rank 0 waits for this rank.
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      host::AbortGroup(group.view().control, {2, 1}, AbortReason::kRankDied, 1);
    }
    A8A_TEST_RETURN_IF_WRONG(Expect(rank.OneShot(a_case, 0), absl::StatusCode::kAborted, "rank 1 died"));
    return Expect(rank.OneShot(a_case, 1), absl::StatusCode::kAborted, "rank 1 died");
  });
}

// What a rank said before it left counts; what it has not said ends the waits for it.
TEST(GpuFaultTest, LeavingEndsTheWaitsForThatRank) {
  RunTest(3, [](GpuGroup& group) -> std::string {
    Rank rank(group);
    const Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    if (const absl::Status first = rank.OneShot(a_case, 0); !first.ok()) return first.ToString();
    if (group.rank() == 2) {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      host::MarkLeft(group.view().control, {3, 1}, 2);
      return "";
    }
    A8A_TEST_RETURN_IF_WRONG(Expect(rank.OneShot(a_case, 1), absl::StatusCode::kAborted, "rank 2 left"));
    return Expect(rank.OneShot(a_case, 0), absl::StatusCode::kAborted, "rank 2 left");
  });
}

// A peer that writes nonsense into its cell makes this rank store nothing outside the window's part.
TEST(GpuFaultTest, HostilePlacementsAreRefused) {
  const std::vector<std::array<std::int64_t, kExchangeWordCount>> cells = {
      // faults, row_bytes, offset, inner_size, outer_stride, inner_stride, first_row, rows, send_rows, actual
      {0, kRowBytes, kPartBytes - kRowBytes, 64, 0, kRowBytes, 0, 2, 2, 0},
      {0, kRowBytes, -kRowBytes, 64, 0, kRowBytes, 0, 2, 2, 0},
      {0, kRowBytes, 0, 0, 0, kRowBytes, 0, 2, 2, 0},
      {0, kRowBytes, 0, 1, INT64_MAX / 2 + 1, 0, 0, 2, 2, 0},
      {0, kRowBytes, 0, 64, 0, kRowBytes, INT64_MAX - 1, 2, 2, 0},
      {0, kRowBytes, 0, 2, std::int64_t{1} << 49, kRowBytes, (std::int64_t{1} << 50) - 2, 2, 2, 0},
  };
  RunTest(2, [&](GpuGroup& group) -> std::string {
    Rank rank(group);
    const Case a_case = MakeDenseCase(rank.AllRows(2), kRowBytes);
    const FlagsLayout layout{2, 1, group.options().block_count};
    rank.PoisonWindow(0);
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::uint64_t epoch = i + 1;
      if (group.rank() == 0) {
        const std::string place = absl::StrCat("cell ", i, ": ");
        const std::string wrong =
            Expect(rank.OneShot(a_case, 0), absl::StatusCode::kOutOfRange, "the output of rank 1 ends at");
        if (!wrong.empty()) return place + wrong;
      } else {
        ExchangeCell cell;
        for (int word = 0; word < kExchangeWordCount; ++word) {
          cell.words[word] = {static_cast<std::uint64_t>(cells[i][static_cast<std::size_t>(word)]),
                              MakeStamp(epoch, Operation::kOneShot)};
        }
        std::byte* segment = group.view().flags[0];
        A8A_CUDA(cudaMemcpy(segment + layout.ExchangeOffset(0, epoch, 1), &cell, sizeof(cell), cudaMemcpyHostToDevice));
        for (int block = 0; block < layout.block_count; ++block) {
          const StampedWord done = {2, MakeStamp(epoch, Operation::kOneShot)};
          A8A_CUDA(cudaMemcpy(segment + layout.BlockDoneOffset(0, epoch, block, 1), &done, sizeof(done),
                              cudaMemcpyHostToDevice));
        }
      }
      group.Barrier();
    }
    return "";
  });
}

TEST(GpuFaultTest, CausesAndCodesAreThoseOfTheHost) {
  for (std::uint32_t fault = 0; fault <= static_cast<std::uint32_t>(Fault::kNotPrepared); ++fault) {
    const auto value = static_cast<Fault>(fault);
    EXPECT_EQ(cuda::StatusCodeOf(value), static_cast<int>(host::CodeOf(value))) << fault;
    if (value == Fault::kNone) continue;
    for (std::uint32_t other = 1; other <= static_cast<std::uint32_t>(Fault::kNotPrepared); ++other) {
      const host::FaultReport a = {.info = {.fault = value}};
      const host::FaultReport b = {.info = {.fault = static_cast<Fault>(other)}};
      EXPECT_EQ(cuda::CauseClass(value) < cuda::CauseClass(static_cast<Fault>(other)), host::IsPlainer(a, b));
    }
  }
}

}  // namespace
}  // namespace a8a::kernels::test
