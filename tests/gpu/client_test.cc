// The public client on a GPU, with a real daemon: graphs that are captured once and replayed with other splits, errors
// that leave the context usable, large windows. Ranks are threads with a client each; rank r is on device r modulo the
// number of devices.
#include <cuda_runtime_api.h>

#include <barrier>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "a8a/client.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/gpu/graph_kernels.h"
#include "tests/support/daemon_process.h"
#include "tests/support/status_matchers.h"

namespace a8a {
namespace {

using ::a8a::kernels::test::kMaxPairRows;
using ::a8a::kernels::test::StepArgs;
using ::a8a::testing::DaemonProcess;
using ::testing::HasSubstr;

#define EXPECT_CUDA_OK(call)                                                             \
  do {                                                                                   \
    const cudaError_t cuda_error = (call);                                               \
    EXPECT_EQ(cuda_error, cudaSuccess) << #call << ": " << cudaGetErrorName(cuda_error); \
  } while (false)

int GpuCount() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

// Device memory of a test; zeroed.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t count) : count_(count) {
    EXPECT_CUDA_OK(cudaMalloc(reinterpret_cast<void**>(&data_), count * sizeof(T)));
    EXPECT_CUDA_OK(cudaMemset(data_, 0, count * sizeof(T)));
    EXPECT_CUDA_OK(cudaStreamSynchronize(cudaStreamLegacy));
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] T First() const {
    T value = {};
    EXPECT_CUDA_OK(cudaMemcpy(&value, data_, sizeof(T), cudaMemcpyDeviceToHost));
    return value;
  }

 private:
  const std::size_t count_;
  T* data_ = nullptr;
};

// What one rank of a test has.
struct Rank {
  int rank = 0;
  int world_size = 0;
  Client* client = nullptr;
  Group* group = nullptr;
  cudaStream_t stream = nullptr;
  std::function<void()> wait;  // for all ranks
};

class GpuClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (GpuCount() == 0) GTEST_SKIP() << "no CUDA device here";
    DaemonProcess::Options options;
    options.flags = {"--backend=cuda"};
    auto daemon = DaemonProcess::Start(options);
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
  }

  void RunRanks(int world_size, const std::function<void(const Rank&)>& body,
                absl::Duration timeout = absl::Seconds(20)) const {
    std::barrier barrier(world_size);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < world_size; ++rank) {
      threads.emplace_back([&, rank] { RunRank(rank, world_size, body, timeout, barrier); });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  void RunRank(int rank, int world_size, const std::function<void(const Rank&)>& body, absl::Duration timeout,
               std::barrier<>& barrier) const {
    const int device = rank % GpuCount();
    EXPECT_CUDA_OK(cudaSetDevice(device));
    A8A_ASSERT_OK_AND_ASSIGN(const auto client, Client::Connect({.runtime_dir = daemon_->runtime_dir()}));
    A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "gpu",
                                                             .rank = rank,
                                                             .world_size = world_size,
                                                             .device = Device::Cuda(device),
                                                             .all_to_all_timeout = timeout}));
    cudaStream_t stream = nullptr;
    EXPECT_CUDA_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    body({rank, world_size, client.get(), group.get(), stream, [&barrier] { barrier.arrive_and_wait(); }});
    EXPECT_CUDA_OK(cudaStreamSynchronize(stream));
    barrier.arrive_and_wait();
    EXPECT_CUDA_OK(cudaStreamDestroy(stream));
  }

 protected:
  std::unique_ptr<DaemonProcess> daemon_;
};

// One window with all that its all-to-alls need; see graph_kernels.h.
class Lane {
 public:
  Lane(const Rank& rank, std::uint32_t tag, std::int64_t row_words, std::int64_t offset_bytes = 0)
      : rank_(rank),
        rows_(kMaxPairRows * rank.world_size),
        row_words_(row_words),
        offset_bytes_(offset_bytes),
        splits_(2 * static_cast<std::size_t>(rank.world_size)),
        input_(static_cast<std::size_t>(rows_ * row_words)),
        mismatches_(1),
        channel_{static_cast<int>(tag)} {
    auto window = rank.group->RegisterWindow(absl::StrCat("w", tag), offset_bytes + rows_ * row_words * 8);
    EXPECT_THAT(window, IsOk());
    if (!window.ok()) return;
    window_ = *std::move(window);
    args_ = {.rank = rank.rank,
             .world_size = rank.world_size,
             .tag = tag,
             .row_words = row_words,
             .send_rows = splits_.data(),
             .receive_rows = splits_.data() + rank.world_size,
             .input = input_.data(),
             .output = reinterpret_cast<std::uint64_t*>(window_->data() + offset_bytes),
             .mismatches = mismatches_.data()};
  }

  [[nodiscard]] bool ok() const { return window_ != nullptr; }
  void Make(std::uint64_t* step) {
    args_.step = step;
    LaunchMakeStep(args_, rank_.stream);
  }
  void Check() const { LaunchCheckStep(args_, rank_.stream); }
  [[nodiscard]] absl::Status Prepare() {
    return rank_.group->Prepare(&plan_, input(), output(), splits(), channel_, rank_.stream);
  }
  [[nodiscard]] absl::Status Prepared() { return rank_.group->AllToAll(plan_, input_.data(), rank_.stream); }
  [[nodiscard]] absl::Status OneShot() {
    return rank_.group->AllToAll(input(), output(), splits(), channel_, rank_.stream);
  }
  [[nodiscard]] absl::Status status() const { return rank_.group->CheckStatus(channel_); }
  [[nodiscard]] std::uint64_t mismatches() const { return mismatches_.First(); }

 private:
  [[nodiscard]] View view() const { return View::Contiguous(rows_, row_words_ * 8); }
  [[nodiscard]] Input input() const { return {.data = input_.data(), .view = view()}; }
  [[nodiscard]] Output output() const {
    return {.window = window_.get(), .offset_bytes = offset_bytes_, .view = view()};
  }
  [[nodiscard]] Splits splits() const { return Splits::Int32(args_.send_rows, args_.receive_rows); }

  const Rank rank_;
  const std::int64_t rows_;
  const std::int64_t row_words_;
  const std::int64_t offset_bytes_;
  DeviceArray<std::int32_t> splits_;
  DeviceArray<std::uint64_t> input_;
  DeviceArray<std::uint64_t> mismatches_;
  const Channel channel_;
  std::unique_ptr<Window> window_;
  Plan plan_;
  StepArgs args_;
};

// Captures `body` and instantiates it.
class CapturedGraph {
 public:
  CapturedGraph(cudaStream_t stream, cudaStreamCaptureMode mode, const std::function<void()>& body) {
    EXPECT_CUDA_OK(cudaStreamBeginCapture(stream, mode));
    body();
    cudaGraph_t graph = nullptr;
    EXPECT_CUDA_OK(cudaStreamEndCapture(stream, &graph));
    EXPECT_CUDA_OK(cudaGraphInstantiate(&executable_, graph, 0));
    EXPECT_CUDA_OK(cudaGraphDestroy(graph));
    // Not at the first launch, which would wait for kernels of other ranks in this process.
    EXPECT_CUDA_OK(cudaGraphUpload(executable_, stream));
    EXPECT_CUDA_OK(cudaStreamSynchronize(stream));
  }
  ~CapturedGraph() { cudaGraphExecDestroy(executable_); }
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;

  void Launch(cudaStream_t stream) const { EXPECT_CUDA_OK(cudaGraphLaunch(executable_, stream)); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

// Prepared and one-shot, on a window and a channel each, with splits of the step: what a graph of the tests holds.
void RunStep(Lane& prepared, Lane& one_shot, std::uint64_t* step, cudaStream_t stream) {
  prepared.Make(step);
  one_shot.Make(step);
  EXPECT_THAT(prepared.Prepare(), IsOk());
  EXPECT_THAT(prepared.Prepared(), IsOk());
  EXPECT_THAT(one_shot.OneShot(), IsOk());
  prepared.Check();
  one_shot.Check();
  kernels::test::LaunchNextStep(step, stream);
}

// Graph launches in flight: enough to keep the device busy.
constexpr int kBatch = 100;

class GpuGraphTest : public GpuClientTest {
 protected:
  void Replay(int world_size, int replay_count, int rebuild_count, cudaStreamCaptureMode mode) const {
    RunRanks(world_size, [&](const Rank& rank) {
      Lane prepared(rank, 0, /*row_words=*/32);
      Lane one_shot(rank, 1, /*row_words=*/7);
      ASSERT_TRUE(prepared.ok() && one_shot.ok());
      DeviceArray<std::uint64_t> step(1);
      rank.wait();
      for (int build = 0; build < rebuild_count; ++build) {
        std::unique_ptr<CapturedGraph> graph;
        // In turn, because a capture in global mode forbids other threads what could not be captured.
        for (int turn = 0; turn < world_size; ++turn) {
          if (turn == rank.rank) {
            graph = std::make_unique<CapturedGraph>(rank.stream, mode,
                                                    [&] { RunStep(prepared, one_shot, step.data(), rank.stream); });
          }
          rank.wait();
        }
        for (int i = 0; i < replay_count; ++i) {
          graph->Launch(rank.stream);
          if (i % kBatch == kBatch - 1) EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
        }
        EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
        rank.wait();
      }
      EXPECT_THAT(prepared.status(), IsOk());
      EXPECT_THAT(one_shot.status(), IsOk());
      EXPECT_EQ(step.First(), static_cast<std::uint64_t>(replay_count) * static_cast<std::uint64_t>(rebuild_count));
      EXPECT_EQ(prepared.mismatches(), 0U);
      EXPECT_EQ(one_shot.mismatches(), 0U);
      rank.wait();
    });
  }
};

TEST_F(GpuGraphTest, TenThousandReplaysWithOtherSplitsEach) {
  Replay(/*world_size=*/2, /*replay_count=*/10'000, /*rebuild_count=*/1, cudaStreamCaptureModeGlobal);
}

TEST_F(GpuGraphTest, EightRanksAndRebuiltGraphs) {
  Replay(/*world_size=*/8, /*replay_count=*/200, /*rebuild_count=*/3, cudaStreamCaptureModeThreadLocal);
}

TEST_F(GpuGraphTest, PlanMemoryIsNotAllocatedInACapture) {
  RunRanks(1, [](const Rank& rank) {
    Lane lane(rank, 0, /*row_words=*/2);
    ASSERT_TRUE(lane.ok());
    DeviceArray<std::int32_t> splits(2);
    const View view = View::Contiguous(kMaxPairRows, 16);
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, rank.group->RegisterWindow("plans", 4096));
    DeviceArray<std::uint64_t> input(64);
    std::vector<Plan> plans(100);
    absl::Status refused;
    const CapturedGraph graph(rank.stream, cudaStreamCaptureModeThreadLocal, [&] {
      for (Plan& plan : plans) {
        const absl::Status status =
            rank.group->Prepare(&plan, {.data = input.data(), .view = view}, {.window = window.get(), .view = view},
                                Splits::Int32(splits.data(), splits.data() + 1), Channel{0}, rank.stream);
        if (!status.ok()) refused = status;
      }
    });
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("being captured")));
    EXPECT_THAT(
        rank.group->Prepare(&plans.back(), {.data = input.data(), .view = view}, {.window = window.get(), .view = view},
                            Splits::Int32(splits.data(), splits.data() + 1), Channel{0}, rank.stream),
        IsOk());
  });
}

TEST_F(GpuClientTest, ChannelsRunAtOnce) {
  RunRanks(2, [](const Rank& rank) {
    Lane prepared(rank, 0, /*row_words=*/64);
    Lane one_shot(rank, 1, /*row_words=*/64);
    ASSERT_TRUE(prepared.ok() && one_shot.ok());
    DeviceArray<std::uint64_t> step(1);
    for (int i = 0; i < 300; ++i) RunStep(prepared, one_shot, step.data(), rank.stream);
    EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
    EXPECT_THAT(prepared.status(), IsOk());
    EXPECT_THAT(one_shot.status(), IsOk());
    EXPECT_EQ(prepared.mismatches() + one_shot.mismatches(), 0U);
    rank.wait();
  });
}

// Two channels on two streams, which the ranks launch in different orders.
TEST_F(GpuGraphTest, TenThousandReplaysOnTwoStreamsAtOnce) {
  constexpr int kReplays = 10'000;
  constexpr int kSmallBatch = 10;
  RunRanks(2, [](const Rank& rank) {
    Rank second = rank;
    EXPECT_CUDA_OK(cudaStreamCreateWithFlags(&second.stream, cudaStreamNonBlocking));
    Lane first_lane(rank, 0, /*row_words=*/64);
    Lane second_lane(second, 1, /*row_words=*/64);
    ASSERT_TRUE(first_lane.ok() && second_lane.ok());
    DeviceArray<std::uint64_t> steps(1);
    DeviceArray<std::uint64_t> second_steps(1);
    const auto capture = [](Lane& lane, const Rank& of, std::uint64_t* step) {
      return std::make_unique<CapturedGraph>(of.stream, cudaStreamCaptureModeThreadLocal, [&] {
        lane.Make(step);
        EXPECT_THAT(lane.Prepare(), IsOk());
        EXPECT_THAT(lane.Prepared(), IsOk());
        lane.Check();
        kernels::test::LaunchNextStep(step, of.stream);
      });
    };
    rank.wait();
    const auto first_graph = capture(first_lane, rank, steps.data());
    const auto second_graph = capture(second_lane, second, second_steps.data());
    rank.wait();
    for (int i = 0; i < kReplays; ++i) {
      // Against each other: what one rank launches first, the other launches last.
      if ((rank.rank + i) % 2 == 0) first_graph->Launch(rank.stream);
      second_graph->Launch(second.stream);
      if ((rank.rank + i) % 2 != 0) first_graph->Launch(rank.stream);
      // Few at once: a launch that finds its queue full keeps the other ranks' threads from launching.
      if (i % kSmallBatch == kSmallBatch - 1) {
        EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
        EXPECT_CUDA_OK(cudaStreamSynchronize(second.stream));
      }
    }
    EXPECT_THAT(first_lane.status(), IsOk());
    EXPECT_THAT(second_lane.status(), IsOk());
    EXPECT_EQ(steps.First(), static_cast<std::uint64_t>(kReplays));
    EXPECT_EQ(second_steps.First(), static_cast<std::uint64_t>(kReplays));
    EXPECT_EQ(first_lane.mismatches() + second_lane.mismatches(), 0U);
    rank.wait();
    EXPECT_CUDA_OK(cudaStreamDestroy(second.stream));
  });
}

TEST_F(GpuClientTest, ARankThatNeverLaunchesIsADeadlineThatNamesItAndTheContextGoesOn) {
  RunRanks(
      2,
      [](const Rank& rank) {
        Lane lane(rank, 0, /*row_words=*/16);
        ASSERT_TRUE(lane.ok());
        DeviceArray<std::uint64_t> step(1);
        if (rank.rank == 0) {
          lane.Make(step.data());
          EXPECT_THAT(lane.OneShot(), IsOk());
          EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
          EXPECT_THAT(lane.status(), StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1")));
        }
        rank.wait();
        EXPECT_CUDA_OK(cudaGetLastError());
      },
      absl::Milliseconds(300));
  RunRanks(2, [](const Rank& rank) {
    Lane lane(rank, 0, /*row_words=*/16);
    ASSERT_TRUE(lane.ok());
    DeviceArray<std::uint64_t> step(1);
    lane.Make(step.data());
    EXPECT_THAT(lane.OneShot(), IsOk());
    lane.Check();
    EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
    EXPECT_THAT(lane.status(), IsOk());
    EXPECT_EQ(lane.mismatches(), 0U);
    rank.wait();
  });
}

TEST_F(GpuClientTest, AnAbortEndsAWaitingAllToAll) {
  RunRanks(2, [](const Rank& rank) {
    Lane lane(rank, 0, /*row_words=*/16);
    ASSERT_TRUE(lane.ok());
    DeviceArray<std::uint64_t> step(1);
    if (rank.rank == 0) {
      lane.Make(step.data());
      EXPECT_THAT(lane.OneShot(), IsOk());
      EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
      EXPECT_THAT(lane.status(), StatusIs(absl::StatusCode::kAborted, HasSubstr("rank 1")));
    } else {
      EXPECT_THAT(rank.group->Abort("no more"), IsOk());
    }
    rank.wait();
  });
}

TEST_F(GpuClientTest, OffsetsAboveFourGibibytesWork) {
  RunRanks(2, [](const Rank& rank) {
    Lane lane(rank, 0, /*row_words=*/16, /*offset_bytes=*/(std::int64_t{1} << 32) + 4096);
    ASSERT_TRUE(lane.ok());
    DeviceArray<std::uint64_t> step(1);
    for (int i = 0; i < 3; ++i) {
      lane.Make(step.data());
      EXPECT_THAT(lane.OneShot(), IsOk());
      lane.Check();
      kernels::test::LaunchNextStep(step.data(), rank.stream);
    }
    EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
    EXPECT_THAT(lane.status(), IsOk());
    EXPECT_EQ(lane.mismatches(), 0U);
    rank.wait();
  });
}

TEST_F(GpuClientTest, SixtyFourRanks) {
  RunRanks(64, [](const Rank& rank) {
    Lane lane(rank, 0, /*row_words=*/3);
    ASSERT_TRUE(lane.ok());
    DeviceArray<std::uint64_t> step(1);
    for (int i = 0; i < 5; ++i) {
      lane.Make(step.data());
      EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
      // Streams share the device's queues: what waits for this must not be behind it in one.
      rank.wait();
      EXPECT_THAT(lane.OneShot(), IsOk());
      EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
      rank.wait();
      lane.Check();
      kernels::test::LaunchNextStep(step.data(), rank.stream);
    }
    EXPECT_CUDA_OK(cudaStreamSynchronize(rank.stream));
    EXPECT_THAT(lane.status(), IsOk());
    EXPECT_EQ(lane.mismatches(), 0U);
    rank.wait();
  });
}

TEST_F(GpuClientTest, DevicesAreFoundByUuidAndErrorsNameThem) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Client::Connect({.runtime_dir = daemon_->runtime_dir()}));
  EXPECT_THAT(client->Join({.name = "g", .device = Device::Cuda(99)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("CUDA device 99 is not there")));
  EXPECT_THAT(client->Join({.name = "g", .device = Device::Host()}), StatusIs(absl::StatusCode::kNotFound));
  A8A_ASSERT_OK_AND_ASSIGN(const auto buffer,
                           client->RegisterBuffer({.size_bytes = 1 << 20, .device = Device::Cuda(0), .name = "b"}));
  EXPECT_CUDA_OK(cudaMemset(buffer->data(), 1, 1 << 20));
  EXPECT_CUDA_OK(cudaDeviceSynchronize());
}

}  // namespace
}  // namespace a8a
