// GPU memory that the daemon leases, mapped and used by workers. What it costs and how long it lives:
// memory_lifetime_test.cc.
#include <fcntl.h>

#include <cstdlib>

#include "tests/gpu/child_process.h"
#include "tests/gpu/memory_roles.h"

namespace a8a {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(GpuMemoryTest, WorkersShareWhatADaemonWithoutContextAllocated) {
  constexpr std::int64_t kSize = 64 * kMiB;
  Child daemon = Child::Start([](const Link& link) {
    const auto provider = MakeProvider();
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, provider->Allocate(kSize, "window"));
    link.SendFd(window->fd());
    link.Await();
  });
  const UniqueFd fd = daemon.link().ReceiveFd();
  const auto worker = [&](unsigned char first, unsigned char mine, unsigned char last) {
    return [&fd, first, mine, last](const Link& link) {
      const auto window = MapWindow(UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)), kSize);
      link.Await();
      EXPECT_EQ(CountOther(window->data(), kSize, first), 0);
      Fill(window->data(), kSize, mine);
      link.Signal();
      link.Await();
      EXPECT_EQ(CountOther(window->data(), kSize, last), 0);
    };
  };
  Child one = Child::Start(worker(/*first=*/0, /*mine=*/0xa8, /*last=*/0x5c));
  Child two = Child::Start(worker(/*first=*/0xa8, /*mine=*/0x5c, /*last=*/0x5c));

  for (const Child* child : {&one, &two}) {
    child->link().Signal();
    child->link().Await();
  }
  for (const Child* child : {&one, &two}) child->link().Signal();

  EXPECT_EQ(one.Wait(), 0);
  EXPECT_EQ(two.Wait(), 0);
  daemon.link().Signal();
  EXPECT_EQ(daemon.Wait(), 0);
}

TEST_F(GpuMemoryTest, ProbeWorks) {
  Child daemon = Child::Start([](const Link&) { EXPECT_THAT(MakeProvider()->Probe(), IsOk()); });

  EXPECT_EQ(daemon.Wait(), 0);
}

// A graph holds addresses: they must be good for as long as the mapping lives, and other mappings that come and go
// must not move them.
TEST_F(GpuMemoryTest, CapturedGraphKeepsItsAddresses) {
  Child process = Child::Start([](const Link&) {
    const auto provider = MakeProvider();
    A8A_ASSERT_OK_AND_ASSIGN(const auto lease, provider->Allocate(4 * kMiB, "window"));
    const auto window = MapWindow(UniqueFd(::fcntl(lease->fd(), F_DUPFD_CLOEXEC, 0)), 4 * kMiB);
    cudaStream_t stream = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    ASSERT_CUDA_OK(cudaStreamCreate(&stream));
    ASSERT_CUDA_OK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    ASSERT_CUDA_OK(cudaMemsetAsync(window->data() + 3 * kMiB, 0x77, kMiB, stream));
    ASSERT_CUDA_OK(cudaStreamEndCapture(stream, &graph));
    ASSERT_CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));

    for (int i = 0; i < 20; ++i) {
      Fill(window->data(), 4 * kMiB, static_cast<unsigned char>(i));
      const auto other = MapWindow(UniqueFd(::fcntl(lease->fd(), F_DUPFD_CLOEXEC, 0)), 4 * kMiB);
      ASSERT_CUDA_OK(cudaGraphLaunch(exec, stream));
      ASSERT_CUDA_OK(cudaStreamSynchronize(stream));
      ASSERT_EQ(CountOther(other->data() + 3 * kMiB, kMiB, 0x77), 0);
      ASSERT_EQ(CountOther(other->data(), 3 * kMiB, static_cast<unsigned char>(i)), 0);
    }
  });

  EXPECT_EQ(process.Wait(), 0);
}

TEST_F(GpuMemoryTest, WorkerThatSeesDevicesByUuidFindsTheDaemonsName) {
  Child daemon = Child::Start([](const Link& link) {
    const std::string uuid = MakeProvider()->device().uuid;
    link.SendText(uuid);
  });
  const std::string uuid = daemon.link().ReceiveText();
  EXPECT_EQ(daemon.Wait(), 0);

  Child worker = Child::Start([&](const Link&) {
    ::setenv("CUDA_VISIBLE_DEVICES", uuid.c_str(), /*overwrite=*/1);
    EXPECT_THAT(client::DaemonDeviceName(OpenDevice()->uuid(), {{"cuda:0", uuid}}), IsOkAndHolds("cuda:0"));
  });
  EXPECT_EQ(worker.Wait(), 0);
}

TEST_F(GpuMemoryTest, DescriptorOfAnotherSizeOrKindIsRefused) {
  Child process = Child::Start([](const Link&) {
    const auto provider = MakeProvider();
    A8A_ASSERT_OK_AND_ASSIGN(const auto lease, provider->Allocate(4 * kMiB, "window"));
    const auto device = OpenDevice();
    const auto map = [&](int fd, std::int64_t size_bytes) {
      return device->Map(UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)), size_bytes, "window");
    };
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));

    EXPECT_THAT(map(lease->fd(), 8 * kMiB), StatusIs(absl::StatusCode::kInternal, HasSubstr("8388608 bytes")));
    EXPECT_THAT(map(null.get(), 4 * kMiB), StatusIs(absl::StatusCode::kInternal, HasSubstr("importing")));
    EXPECT_THAT(map(lease->fd(), 4 * kMiB), IsOk());
  });

  EXPECT_EQ(process.Wait(), 0);
}

TEST_F(GpuMemoryTest, OutOfMemoryIsResourceExhaustedAndHarmsNothing) {
  Child daemon = Child::Start([](const Link&) {
    const auto provider = MakeProvider();
    const std::int64_t total = 2 * provider->device().pool_limit_bytes / (2 * kMiB) * (2 * kMiB);
    A8A_ASSERT_OK_AND_ASSIGN(const auto lease, provider->Allocate(2 * kMiB, "window"));

    EXPECT_THAT(provider->Allocate(total, "window"),
                StatusIs(absl::StatusCode::kResourceExhausted,
                         AllOf(HasSubstr(absl::StrCat("asked for ", total)), HasSubstr("leased are 2097152"))));

    EXPECT_THAT(provider->Probe(), IsOk());
  });

  EXPECT_EQ(daemon.Wait(), 0);
}

}  // namespace
}  // namespace a8a
