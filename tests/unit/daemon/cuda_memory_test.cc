#include "daemon/memory/cuda_memory.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_libcuda/fake_libcuda.h"
#include "tests/support/status_matchers.h"

namespace a8a::daemon {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

std::ptrdiff_t OpenDescriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

class CudaMemoryTest : public testing::Test {
 protected:
  absl::StatusOr<CudaProviders> Make(const std::string& script, const CudaMemoryOptions& options = {}) {
    fake_.Script(script);
    return MakeCudaProviders(options, fake_.library());
  }
  // The one provider of the default script's first device.
  std::unique_ptr<MemoryProvider> MakeOne() {
    absl::StatusOr<CudaProviders> made = Make("");
    EXPECT_THAT(made, IsOk());
    return made.ok() ? std::move(made->providers.front()) : nullptr;
  }

  cuda::FakeLibcuda fake_{A8A_FAKE_LIBCUDA_PATH, testing::TempDir() + "/cuda_memory_test_script"};
};

const std::string kTwoDevices =
    "device uuid=aa000000000000000000000000000000 bus=9 memory=8388608\n"
    "device uuid=bb000000000000000000000000000000 bus=3 memory=4194304\n";
constexpr char kUuidA[] = "GPU-aa000000-0000-0000-0000-000000000000";
constexpr char kUuidB[] = "GPU-bb000000-0000-0000-0000-000000000000";

TEST_F(CudaMemoryTest, DevicesAreNumberedByPciBus) {
  A8A_ASSERT_OK_AND_ASSIGN(const CudaProviders made, Make(kTwoDevices));

  ASSERT_THAT(made.providers, SizeIs(2));
  EXPECT_THAT(made.refused, IsEmpty());
  EXPECT_EQ(made.providers[0]->device().name, "cuda:0");
  EXPECT_EQ(made.providers[0]->device().uuid, kUuidB);
  EXPECT_EQ(made.providers[0]->device().kind, DeviceKind::kCuda);
  EXPECT_EQ(made.providers[0]->device().granularity_bytes, 2 * kMiB);
  EXPECT_EQ(made.providers[1]->device().name, "cuda:1");
  EXPECT_EQ(made.providers[1]->device().uuid, kUuidA);
}

TEST_F(CudaMemoryTest, OrderOfVisibleDevicesChangesNoNames) {
  ::setenv("CUDA_VISIBLE_DEVICES", "0,1", /*overwrite=*/1);
  A8A_ASSERT_OK_AND_ASSIGN(const CudaProviders one_way, Make(kTwoDevices));
  ::setenv("CUDA_VISIBLE_DEVICES", "1,0", /*overwrite=*/1);
  A8A_ASSERT_OK_AND_ASSIGN(const CudaProviders other_way, Make(kTwoDevices));

  ASSERT_THAT(other_way.providers, SizeIs(2));
  EXPECT_EQ(other_way.providers[0]->device().uuid, one_way.providers[0]->device().uuid);
}

TEST_F(CudaMemoryTest, HiddenDevicesAreNotLeased) {
  ::setenv("CUDA_VISIBLE_DEVICES", kUuidA, /*overwrite=*/1);
  A8A_ASSERT_OK_AND_ASSIGN(const CudaProviders made, Make(kTwoDevices));

  ASSERT_THAT(made.providers, SizeIs(1));
  EXPECT_EQ(made.providers[0]->device().uuid, kUuidA);
}

TEST_F(CudaMemoryTest, UnusableDevicesAreLeftOutWithTheirReasonAndKeepTheirNumber) {
  A8A_ASSERT_OK_AND_ASSIGN(
      const CudaProviders made,
      Make("device uuid=aa000000000000000000000000000000 bus=1 gpu_uuid=ff000000000000000000000000000000\n"
           "device uuid=bb000000000000000000000000000000 bus=2 vmm=0\n"
           "device uuid=cc000000000000000000000000000000 bus=3 descriptors=0\n"
           "device uuid=dd000000000000000000000000000000 bus=4\n"));

  ASSERT_THAT(made.providers, SizeIs(1));
  EXPECT_EQ(made.providers[0]->device().name, "cuda:3");
  const auto refused = [](const char* device, const char* reason) {
    return StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr(device), HasSubstr(reason)));
  };
  EXPECT_THAT(made.refused, ElementsAre(refused("device cuda:0: Fake GPU MIG-aa000000", "MIG instance"),
                                        refused("device cuda:1", "VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED"),
                                        refused("device cuda:2", "POSIX_FILE_DESCRIPTOR_SUPPORTED")));
}

TEST_F(CudaMemoryTest, NoUsableDeviceIsAnErrorWithTheReason) {
  EXPECT_THAT(Make("device uuid=aa000000000000000000000000000000 gpu_uuid=ff000000000000000000000000000000\n"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is a MIG instance")));
}

TEST_F(CudaMemoryTest, MissingDriverIsUnimplemented) {
  EXPECT_THAT(MakeCudaProviders({}, "libcuda-that-is-nowhere.so.1"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("is not there")));
}

TEST_F(CudaMemoryTest, PoolLimitIsHalfOfTheMemoryUnlessGiven) {
  A8A_ASSERT_OK_AND_ASSIGN(const CudaProviders by_default, Make(kTwoDevices));
  A8A_ASSERT_OK_AND_ASSIGN(const CudaProviders given,
                           Make(kTwoDevices, {.pool_limit_bytes = 6 * kMiB, .pool_limit_bytes_by_device = {}}));
  A8A_ASSERT_OK_AND_ASSIGN(
      const CudaProviders each,
      Make(kTwoDevices, {.pool_limit_bytes = 0, .pool_limit_bytes_by_device = {{"cuda:0", kMiB}, {kUuidA, 3 * kMiB}}}));

  EXPECT_EQ(by_default.providers[0]->device().pool_limit_bytes, 2 * kMiB);
  EXPECT_EQ(by_default.providers[1]->device().pool_limit_bytes, 4 * kMiB);
  EXPECT_EQ(given.providers[0]->device().pool_limit_bytes, 6 * kMiB);
  EXPECT_EQ(given.providers[1]->device().pool_limit_bytes, 6 * kMiB);
  EXPECT_EQ(each.providers[0]->device().pool_limit_bytes, kMiB);
  EXPECT_EQ(each.providers[1]->device().pool_limit_bytes, 3 * kMiB);
}

TEST_F(CudaMemoryTest, PoolLimitOfAnUnknownDeviceIsRefusedNamingTheKnown) {
  EXPECT_THAT(Make(kTwoDevices, {.pool_limit_bytes = 0, .pool_limit_bytes_by_device = {{"cuda:2", kMiB}}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("\"cuda:2\""), HasSubstr(kUuidA), HasSubstr("cuda:1"))));
}

TEST_F(CudaMemoryTest, AllocationIsADescriptorThatExecCloses) {
  const auto provider = MakeOne();

  A8A_ASSERT_OK_AND_ASSIGN(const auto allocation, provider->Allocate(4 * kMiB, "window"));

  struct stat info = {};
  ASSERT_EQ(::fstat(allocation->fd(), &info), 0);
  EXPECT_EQ(info.st_size, 4 * kMiB);
  EXPECT_EQ(allocation->size_bytes(), 4 * kMiB);
  EXPECT_EQ(::fcntl(allocation->fd(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fake_.Count("live handles"), 0);
}

TEST_F(CudaMemoryTest, NoContextIsEverMade) {
  const long contexts = fake_.Count("cuDevicePrimaryCtxRetain");
  const long reservations = fake_.Count("cuMemAddressReserve");
  const auto provider = MakeOne();
  A8A_ASSERT_OK_AND_ASSIGN(const auto allocation, provider->Allocate(2 * kMiB, "window"));

  EXPECT_THAT(provider->Probe(), IsOk());

  EXPECT_EQ(fake_.Count("cuDevicePrimaryCtxRetain"), contexts);
  EXPECT_EQ(fake_.Count("cuMemAddressReserve"), reservations);
}

TEST_F(CudaMemoryTest, ThousandLeasesLeaveNothingBehind) {
  const auto provider = MakeOne();
  const std::ptrdiff_t descriptors = OpenDescriptors();

  for (int i = 0; i < 1000; ++i) ASSERT_THAT(provider->Allocate(2 * kMiB, "window"), IsOk());
  ASSERT_THAT(provider->Probe(), IsOk());

  EXPECT_EQ(OpenDescriptors(), descriptors);
  EXPECT_EQ(fake_.Count("live handles"), 0);
}

TEST_F(CudaMemoryTest, OutOfMemorySaysWhatWasAskedForAndWhatIsLeft) {
  A8A_ASSERT_OK_AND_ASSIGN(const CudaProviders made, Make(kTwoDevices));
  MemoryProvider* const provider = made.providers[1].get();
  A8A_ASSERT_OK_AND_ASSIGN(const auto held, provider->Allocate(2 * kMiB, "window"));

  EXPECT_THAT(provider->Allocate(10 * kMiB, "window"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("cuda:1 (GPU-aa000000"), HasSubstr("asked for 10485760 bytes"),
                             HasSubstr("leased are 2097152 of 8388608"), HasSubstr("at most 6291456 are left"))));
}

TEST_F(CudaMemoryTest, ReturnedLeasesCountNoMore) {
  const auto provider = MakeOne();
  ASSERT_THAT(provider->Allocate(2 * kMiB, "window"), IsOk());
  fake_.Script("fail cuMemCreate 2\n");

  EXPECT_THAT(provider->Allocate(2 * kMiB, "window"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("leased are 0 of")));
}

TEST_F(CudaMemoryTest, OutOfDescriptorsIsResourceExhausted) {
  const auto provider = MakeOne();
  rlimit limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  // One more than there are: the fake's own memory gets it, the exported descriptor none.
  const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(next);
  const rlimit lowered = {static_cast<rlim_t>(next) + 1, limit.rlim_max};
  // The fake reads its script through a descriptor too, which is closed by the time the memory is made.
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lowered), 0);

  const absl::Status status = provider->Allocate(2 * kMiB, "window").status();

  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no file descriptor left")));
  EXPECT_EQ(fake_.Count("live handles"), 0);
}

TEST_F(CudaMemoryTest, FailedExportReleasesTheMemory) {
  const auto provider = MakeOne();
  fake_.Script("fail cuMemExportToShareableHandle 999\n");

  EXPECT_THAT(provider->Allocate(2 * kMiB, "window"),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("sharing 2097152 bytes of window"), HasSubstr("CUDA_ERROR_UNKNOWN (999)"))));
  EXPECT_EQ(fake_.Count("live handles"), 0);
}

TEST_F(CudaMemoryTest, ProbeFailsWithTheStepThatFailed) {
  const auto provider = MakeOne();
  const auto probe_with = [&](const char* script) {
    fake_.Script(script);
    return provider->Probe();
  };

  EXPECT_THAT(probe_with("fail cuMemCreate 46\n"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("probe")));
  EXPECT_THAT(probe_with("fail cuMemExportToShareableHandle 304\n"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("sharing")));
  EXPECT_THAT(probe_with("fail cuMemImportFromShareableHandle 999\n"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("importing its own memory")));
  EXPECT_THAT(probe_with(""), IsOk());
  EXPECT_EQ(fake_.Count("live handles"), 0);
}

}  // namespace
}  // namespace a8a::daemon
