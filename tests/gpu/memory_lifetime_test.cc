// What leased GPU memory costs, who keeps it alive, and that nothing of it is left.
#include <fcntl.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "tests/gpu/child_process.h"
#include "tests/gpu/memory_roles.h"

namespace a8a {
namespace {

// The daemon's share, beyond what it leases.
constexpr std::int64_t kDaemonBytesMax = 8 * kMiB;

std::ptrdiff_t OpenDescriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

UniqueFd Duplicate(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

template <typename Action>
double Milliseconds(Action action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

TEST_F(GpuMemoryTest, DaemonCostsAtMostEightMiBBeyondItsLeases) {
  const std::int64_t before = GpuUsedBytes();
  Child daemon = Child::Start([](const Link& link) {
    const auto provider = MakeProvider();
    A8A_ASSERT_OK_AND_ASSIGN(const auto lease, provider->Allocate(kGiB, "window"));
    EXPECT_THAT(provider->Probe(), IsOk());
    link.Signal();
    link.Await();
  });
  daemon.link().Await();

  const std::int64_t overhead = GpuUsedBytes() - before - kGiB;

  daemon.link().Signal();
  EXPECT_EQ(daemon.Wait(), 0);
  EXPECT_LE(overhead, kDaemonBytesMax);
  EXPECT_EQ(GpuUsedBytes(), before);
  std::printf("%s: daemon costs %.2f MiB beyond a lease of 1 GiB\n", GpuDescription().c_str(),
              static_cast<double>(overhead) / kMiB);
}

TEST_F(GpuMemoryTest, MemoryOutlivesTheDaemonThatWasKilled) {
  constexpr std::int64_t kSize = 32 * kMiB;
  Child daemon = Child::Start([](const Link& link) {
    const auto provider = MakeProvider();
    A8A_ASSERT_OK_AND_ASSIGN(const auto lease, provider->Allocate(kSize, "window"));
    link.SendFd(lease->fd());
    link.Await();
  });
  const UniqueFd fd = daemon.link().ReceiveFd();
  const auto map = [&fd] { return MapWindow(Duplicate(fd.get()), kSize); };
  Child worker = Child::Start([&map](const Link& link) {
    const auto window = map();
    Fill(window->data(), kSize, 0xa8);
    link.Signal();
    link.Await();
    EXPECT_EQ(CountOther(window->data(), kSize, 0xa8), 0);
    Fill(window->data(), kSize, 0x5c);
  });
  worker.link().Await();

  daemon.Kill();

  worker.link().Signal();
  EXPECT_EQ(worker.Wait(), 0);
  // Nobody maps it now; the descriptor in this process, which has no driver, keeps it.
  Child later = Child::Start([&map](const Link&) { EXPECT_EQ(CountOther(map()->data(), kSize, 0x5c), 0); });
  EXPECT_EQ(later.Wait(), 0);
}

TEST_F(GpuMemoryTest, MemoryIsFreedWithItsLastHolder) {
  constexpr std::int64_t kSize = 512 * kMiB;
  const std::int64_t before = GpuUsedBytes();
  UniqueFd fd;
  {
    Child daemon = Child::Start([](const Link& link) {
      const auto provider = MakeProvider();
      A8A_ASSERT_OK_AND_ASSIGN(const auto lease, provider->Allocate(kSize, "window"));
      link.SendFd(lease->fd());
      link.Await();
    });
    fd = daemon.link().ReceiveFd();
    daemon.Kill();
  }
  EXPECT_GE(GpuUsedBytes(), before + kSize);

  fd.Reset();

  EXPECT_EQ(GpuUsedBytes(), before);
}

TEST_F(GpuMemoryTest, FreshMemoryIsZeroAfterAnotherProcessFilledTheDevice) {
  constexpr std::int64_t kFilled = 16 * kGiB;
  constexpr std::int64_t kLooked = 256 * kMiB;
  constexpr int kLeases = 16;
  Child filler = Child::Start([](const Link&) {
    void* data = nullptr;
    ASSERT_CUDA_OK(cudaMalloc(&data, kFilled));
    Fill(static_cast<std::byte*>(data), kFilled, 0xff);
  });
  ASSERT_EQ(filler.Wait(), 0);

  Child reader = Child::Start([](const Link&) {
    const auto provider = MakeProvider();
    std::vector<std::unique_ptr<daemon::Allocation>> leases;
    for (int i = 0; i < kLeases; ++i) {
      A8A_ASSERT_OK_AND_ASSIGN(auto lease, provider->Allocate(kLooked, "window"));
      EXPECT_EQ(CountOther(MapWindow(Duplicate(lease->fd()), kLooked)->data(), kLooked, 0), 0) << "lease " << i;
      leases.push_back(std::move(lease));
    }
  });
  EXPECT_EQ(reader.Wait(), 0);
}

TEST_F(GpuMemoryTest, ThousandLeasesAndMappingsLeaveNothing) {
  Child process = Child::Start([](const Link& link) {
    const auto provider = MakeProvider();
    const auto device = OpenDevice();
    const auto cycle = [&] {
      A8A_ASSERT_OK_AND_ASSIGN(const auto lease, provider->Allocate(64 * kMiB, "window"));
      ASSERT_THAT(device->Map(Duplicate(lease->fd()), 64 * kMiB, "window"), IsOk());
    };
    cycle();
    const std::ptrdiff_t descriptors = OpenDescriptors();
    link.Signal();
    link.Await();
    const double ms = Milliseconds([&] {
      for (int i = 0; i < 1000; ++i) cycle();
    });
    EXPECT_EQ(OpenDescriptors(), descriptors);
    std::printf("1000 cycles of lease, map, unmap, release of 64 MiB: %.0f ms\n", ms);
    link.Signal();
    link.Await();
  });
  process.link().Await();
  const std::int64_t before = GpuUsedBytes();

  process.link().Signal();
  process.link().Await();

  EXPECT_EQ(GpuUsedBytes(), before);
  process.link().Signal();
  EXPECT_EQ(process.Wait(), 0);
}

// Prints figures; fails only if something does not work.
TEST_F(GpuMemoryTest, TimesOfOneLease) {
  std::printf("%s\n", GpuDescription().c_str());
  Child process = Child::Start([](const Link&) {
    std::unique_ptr<daemon::MemoryProvider> provider;
    std::shared_ptr<const client::CudaDevice> device;
    const double load = Milliseconds([&] { provider = MakeProvider(); });
    const double probe = Milliseconds([&] { EXPECT_THAT(provider->Probe(), IsOk()); });
    const double open = Milliseconds([&] { device = OpenDevice(); });
    std::printf("load %.1f ms, probe %.2f ms, primary context %.1f ms\n", load, probe, open);
    for (const std::int64_t size_bytes : {2 * kMiB, 64 * kMiB, kGiB, 8 * kGiB}) {
      std::unique_ptr<daemon::Allocation> lease;
      std::unique_ptr<client::Mapping> window;
      const double allocate = Milliseconds([&] { lease = *provider->Allocate(size_bytes, "window"); });
      const double map = Milliseconds([&] { window = *device->Map(Duplicate(lease->fd()), size_bytes, "window"); });
      const double unmap = Milliseconds([&] { window.reset(); });
      const double release = Milliseconds([&] { lease.reset(); });
      std::printf("%5lld MiB: allocate %.2f ms, map %.2f ms, unmap %.2f ms, release %.2f ms\n",
                  static_cast<long long>(size_bytes / kMiB), allocate, map, unmap, release);
    }
  });

  EXPECT_EQ(process.Wait(), 0);
}

}  // namespace
}  // namespace a8a
