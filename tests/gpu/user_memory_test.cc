// Windows on memory that a rank has allocated itself: legacy IPC handles, their rules, and what is refused. Ranks are
// processes: no process can open a handle of its own.
#include <cuda_runtime_api.h>

#include <cstring>
#include <functional>
#include <vector>

#include "a8a/client.h"
#include "tests/gpu/child_process.h"
#include "tests/gpu/memory_roles.h"
#include "tests/support/daemon_process.h"

namespace a8a {
namespace {

using ::a8a::testing::DaemonProcess;
using ::testing::HasSubstr;

constexpr std::int64_t kRowBytes = 1000;
constexpr int kWorldSize = 2;
constexpr std::int64_t kPartBytes = kWorldSize * kRowBytes;
// Not where the allocation begins, and not aligned for vectors.
constexpr std::int64_t kOffset = 4 * kMiB + 8;

struct Rank {
  int rank;
  Group* group;
  std::byte* memory;  // of cudaMalloc, kOffset + kPartBytes long
  const Link& link;
};

class GpuUserMemoryTest : public GpuMemoryTest {
 protected:
  void StartDaemon(const std::string& legacy_ipc) {
    DaemonProcess::Options options;
    options.flags = {"--backend=cuda", "--legacy-ipc=" + legacy_ipc};
    auto daemon = DaemonProcess::Start(options);
    ASSERT_THAT(daemon, IsOk());
    daemon_ = *std::move(daemon);
  }

  [[nodiscard]] Child StartRank(int rank, const std::function<void(const Rank&)>& body) const {
    return Child::Start([&, rank, runtime_dir = daemon_->runtime_dir()](const Link& link) {
      int device_count = 0;
      ASSERT_CUDA_OK(cudaGetDeviceCount(&device_count));
      const int device = rank % device_count;
      ASSERT_CUDA_OK(cudaSetDevice(device));
      A8A_ASSERT_OK_AND_ASSIGN(const auto client, Client::Connect({.runtime_dir = runtime_dir}));
      A8A_ASSERT_OK_AND_ASSIGN(
          const auto group,
          client->Join({.name = "own", .rank = rank, .world_size = kWorldSize, .device = Device::Cuda(device)}));
      void* memory = nullptr;
      ASSERT_CUDA_OK(cudaMalloc(&memory, static_cast<std::size_t>(kOffset + kPartBytes)));
      body({rank, group.get(), static_cast<std::byte*>(memory), link});
    });
  }
  // Both ranks run `body` to its end.
  void RunRanks(const std::function<void(const Rank&)>& body) const {
    Child first = StartRank(0, body);
    Child second = StartRank(1, body);
    EXPECT_EQ(first.Wait(), 0);
    EXPECT_EQ(second.Wait(), 0);
  }

  std::unique_ptr<DaemonProcess> daemon_;
};

// Every rank sends a row of bytes 10 * sender + receiver to every rank. Returns the status of the all-to-all.
absl::Status AllToAll(const Rank& rank, const Window& window) {
  std::vector<unsigned char> rows;
  for (int peer = 0; peer < kWorldSize; ++peer) {
    rows.insert(rows.end(), static_cast<std::size_t>(kRowBytes), static_cast<unsigned char>(10 * rank.rank + peer));
  }
  const std::vector<std::int32_t> splits(2 * kWorldSize, 1);
  void* input = nullptr;
  void* device_splits = nullptr;
  EXPECT_EQ(cudaMalloc(&input, rows.size()), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&device_splits, splits.size() * sizeof(std::int32_t)), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(input, rows.data(), rows.size(), cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(device_splits, splits.data(), splits.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice),
            cudaSuccess);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const auto* const counts = static_cast<const std::int32_t*>(device_splits);
  const View view = View::Contiguous(kWorldSize, kRowBytes);
  const absl::Status launched = rank.group->AllToAll({.data = input, .view = view}, {.window = &window, .view = view},
                                                     Splits::Int32(counts, counts + kWorldSize), Channel{0});
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(cudaFree(input), cudaSuccess);
  EXPECT_EQ(cudaFree(device_splits), cudaSuccess);
  return launched.ok() ? rank.group->CheckStatus(Channel{0}) : launched;
}

void ExpectRows(const Rank& rank, const std::byte* part) {
  for (int sender = 0; sender < kWorldSize; ++sender) {
    EXPECT_EQ(CountOther(part + sender * kRowBytes, kRowBytes, static_cast<unsigned char>(10 * sender + rank.rank)), 0);
  }
}

TEST_F(GpuUserMemoryTest, PeersStoreIntoIt) {
  StartDaemon("on");
  RunRanks([](const Rank& rank) {
    Fill(rank.memory, kOffset + kPartBytes, 0xee);
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, rank.group->RegisterWindowOn("w", rank.memory + kOffset, kPartBytes));
    EXPECT_EQ(window->data(), rank.memory + kOffset);
    EXPECT_EQ(window->size_bytes(), kPartBytes);
    EXPECT_THAT(AllToAll(rank, *window), IsOk());
    ExpectRows(rank, rank.memory + kOffset);
    EXPECT_EQ(CountOther(rank.memory, kOffset, 0xee), 0);
  });
}

TEST_F(GpuUserMemoryTest, OneRankMayTakeThePool) {
  StartDaemon("on");
  RunRanks([](const Rank& rank) {
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, rank.rank == 0
                                                    ? rank.group->RegisterWindowOn("w", rank.memory, kPartBytes)
                                                    : rank.group->RegisterWindow("w", kPartBytes));
    EXPECT_THAT(AllToAll(rank, *window), IsOk());
    ExpectRows(rank, window->data());
  });
}

// The rule for its life: once all ranks have released the window, it is the caller's alone again; it may be freed, and
// shared anew.
TEST_F(GpuUserMemoryTest, ItIsTheCallersAgainOnceAllHaveReleasedTheWindow) {
  StartDaemon("on");
  RunRanks([](const Rank& rank) {
    for (int turn = 0; turn < 3; ++turn) {
      {
        A8A_ASSERT_OK_AND_ASSIGN(auto window, rank.group->RegisterWindowOn("w", rank.memory, kPartBytes));
        EXPECT_THAT(AllToAll(rank, *window), IsOk());
      }
      // Collective: returns once the other rank has released the window too.
      A8A_ASSERT_OK_AND_ASSIGN(const auto barrier, rank.group->RegisterWindow("barrier", 1));
      ExpectRows(rank, rank.memory);
      Fill(rank.memory, kPartBytes, 0xee);
      EXPECT_EQ(CountOther(rank.memory, kPartBytes, 0xee), 0);
    }
    EXPECT_EQ(cudaFree(rank.memory), cudaSuccess);
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, rank.group->RegisterWindow("pool", kPartBytes));
    EXPECT_THAT(AllToAll(rank, *window), IsOk());
    ExpectRows(rank, window->data());
  });
}

// A rank that leaves in order ends the group for the other, whose context stays good.
TEST_F(GpuUserMemoryTest, TheOwnersLeavingIsAnErrorOnTheOther) {
  StartDaemon("on");
  const auto body = [](const Rank& rank) {
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, rank.group->RegisterWindowOn("w", rank.memory, kPartBytes));
    EXPECT_THAT(AllToAll(rank, *window), IsOk());
    rank.link.Signal();
    if (rank.rank == 0) return;
    rank.link.Await();  // the other process has ended
    EXPECT_THAT(AllToAll(rank, *window), StatusIs(absl::StatusCode::kAborted, HasSubstr("rank 0")));
    ExpectRows(rank, rank.memory);
  };
  Child owner = StartRank(0, body);
  Child survivor = StartRank(1, body);
  owner.link().Await();
  survivor.link().Await();
  EXPECT_EQ(owner.Wait(), 0);
  survivor.link().Signal();
  EXPECT_EQ(survivor.Wait(), 0);
}

TEST_F(GpuUserMemoryTest, WhatCannotBeSharedIsRefused) {
  StartDaemon("on");
  RunRanks([](const Rank& rank) {
    using absl::StatusCode;
    EXPECT_THAT(rank.group->RegisterWindowOn("beyond", rank.memory, std::int64_t{1} << 40),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("its allocation has")));
    std::vector<char> on_host(64);
    EXPECT_THAT(rank.group->RegisterWindowOn("host", on_host.data(), 64), StatusIs(StatusCode::kInvalidArgument));
    void* managed = nullptr;
    ASSERT_CUDA_OK(cudaMallocManaged(&managed, 4096));
    EXPECT_THAT(rank.group->RegisterWindowOn("managed", managed, 4096), StatusIs(StatusCode::kInvalidArgument));
    void* pooled = nullptr;
    ASSERT_CUDA_OK(cudaMallocAsync(&pooled, 4096, cudaStreamPerThread));
    ASSERT_CUDA_OK(cudaStreamSynchronize(cudaStreamPerThread));
    EXPECT_THAT(rank.group->RegisterWindowOn("pooled", pooled, 4096),
                StatusIs(StatusCode::kFailedPrecondition, HasSubstr("cudaMallocAsync")));
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  });
}

TEST_F(GpuUserMemoryTest, TheDaemonMustAllowIt) {
  StartDaemon("auto");
  RunRanks([](const Rank& rank) {
    EXPECT_THAT(rank.group->RegisterWindowOn("w", rank.memory, kPartBytes),
                StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("legacy_ipc")));
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, rank.group->RegisterWindow("w", kPartBytes));
    EXPECT_THAT(AllToAll(rank, *window), IsOk());
  });
}

}  // namespace
}  // namespace a8a
