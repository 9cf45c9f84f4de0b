#include "client/src/cuda_device.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "daemon/memory/cuda_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_libcuda/fake_libcuda.h"
#include "tests/support/status_matchers.h"

namespace a8a::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
const std::string kTwoDevices =
    "device uuid=aa000000000000000000000000000000 bus=1\n"
    "device uuid=bb000000000000000000000000000000 bus=2\n";
constexpr char kUuidA[] = "GPU-aa000000-0000-0000-0000-000000000000";
constexpr char kUuidB[] = "GPU-bb000000-0000-0000-0000-000000000000";

class CudaDeviceTest : public testing::Test {
 protected:
  CudaDeviceTest() { fake_.Script(kTwoDevices); }
  // The same driver is behind both, as if daemon and client were one process.
  void SetUp() override { A8A_ASSERT_OK_AND_ASSIGN(daemon_, daemon::MakeCudaProviders({}, fake_.library())); }

  absl::StatusOr<std::shared_ptr<const CudaDevice>> Open(int ordinal) {
    auto driver = cuda::Driver::Load(fake_.library());
    if (!driver.ok()) return driver.status();
    return CudaDevice::Open(*std::move(driver), ordinal);
  }
  // What a client gets from fd.sock.
  UniqueFd Lease(std::size_t device, std::int64_t size_bytes) {
    auto allocation = daemon_.providers.at(device)->Allocate(size_bytes, "test");
    EXPECT_THAT(allocation, IsOk());
    return UniqueFd(::fcntl((*allocation)->fd(), F_DUPFD_CLOEXEC, 0));
  }

  cuda::FakeLibcuda fake_{A8A_FAKE_LIBCUDA_PATH, testing::TempDir() + "/cuda_device_test_script"};
  daemon::CudaProviders daemon_;
};

TEST_F(CudaDeviceTest, OrdinalIsThatOfThisProcess) {
  ::setenv("CUDA_VISIBLE_DEVICES", "1,0", /*overwrite=*/1);

  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));

  EXPECT_EQ(device->uuid(), kUuidB);
  EXPECT_THAT(DaemonDeviceName(device->uuid(), {{"cuda:0", kUuidA}, {"cuda:1", kUuidB}}), IsOkAndHolds("cuda:1"));
}

TEST_F(CudaDeviceTest, DeviceThatTheDaemonLacksIsNotFoundNamingItsOwn) {
  EXPECT_THAT(DaemonDeviceName(kUuidB, {{"host", ""}, {"cuda:0", kUuidA}}),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr(kUuidB), HasSubstr("host, cuda:0 GPU-aa000000"))));
}

TEST_F(CudaDeviceTest, OrdinalThatIsNotThereSaysHowManyThereAre) {
  EXPECT_THAT(Open(2), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("this process sees 2")));
  EXPECT_THAT(Open(-1), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(CudaDeviceTest, PrimaryContextIsHeldAsLongAsTheDeviceAndItsMappings) {
  A8A_ASSERT_OK_AND_ASSIGN(auto device, Open(0));
  A8A_ASSERT_OK_AND_ASSIGN(auto mapping, device->Map(Lease(0, 2 * kMiB), 2 * kMiB, "window \"w\""));

  device.reset();
  EXPECT_EQ(fake_.Count("live contexts"), 1);

  mapping.reset();
  EXPECT_EQ(fake_.Count("live contexts"), 0);
}

TEST_F(CudaDeviceTest, MappingsOfOneDescriptorShareZeroedMemory) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));
  UniqueFd fd = Lease(0, 2 * kMiB);
  UniqueFd duplicate(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));

  A8A_ASSERT_OK_AND_ASSIGN(const auto one, device->Map(std::move(fd), 2 * kMiB, "one"));
  A8A_ASSERT_OK_AND_ASSIGN(const auto two, device->Map(std::move(duplicate), 2 * kMiB, "two"));

  EXPECT_EQ(one->size_bytes(), 2 * kMiB);
  EXPECT_NE(one->data(), two->data());
  EXPECT_EQ(two->data()[2 * kMiB - 1], std::byte{0});
  std::memset(one->data(), 0xa8, static_cast<std::size_t>(one->size_bytes()));
  EXPECT_EQ(two->data()[2 * kMiB - 1], std::byte{0xa8});
}

TEST_F(CudaDeviceTest, DestructionUnmapsAndLeavesNothing) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));

  for (int i = 0; i < 100; ++i) ASSERT_THAT(device->Map(Lease(0, 2 * kMiB), 2 * kMiB, "window"), IsOk());

  EXPECT_EQ(fake_.Count("live mappings"), 0);
  EXPECT_EQ(fake_.Count("live reservations"), 0);
  EXPECT_EQ(fake_.Count("live handles"), 0);
}

TEST_F(CudaDeviceTest, MemoryOfAPeerIsMappedWhereThereIsAccess) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));

  EXPECT_THAT(device->Map(Lease(1, 2 * kMiB), 2 * kMiB, "window of rank 1"), IsOk());
}

TEST_F(CudaDeviceTest, MissingPeerAccessNamesBothDevices) {
  fake_.Script(kTwoDevices + "no_peer_access\n");
  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));

  EXPECT_THAT(device->Map(Lease(1, 2 * kMiB), 2 * kMiB, "window"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(kUuidA), HasSubstr(kUuidB), HasSubstr("no peer access"))));
  EXPECT_THAT(device->Map(Lease(0, 2 * kMiB), 2 * kMiB, "window"), IsOk());
  EXPECT_EQ(fake_.Count("live handles"), 0);
}

TEST_F(CudaDeviceTest, PeerAccessWithoutAtomicsIsRefused) {
  fake_.Script(kTwoDevices + "no_peer_atomics\n");
  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));

  EXPECT_THAT(device->Map(Lease(1, 2 * kMiB), 2 * kMiB, "window"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(kUuidA), HasSubstr(kUuidB), HasSubstr("no native atomics"))));
}

// Of a device that CUDA_VISIBLE_DEVICES hides from this process nothing can be asked; the driver decides.
TEST_F(CudaDeviceTest, MemoryOfAHiddenPeerIsLeftToTheDriver) {
  UniqueFd fd = Lease(1, 2 * kMiB);
  UniqueFd duplicate(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  ::setenv("CUDA_VISIBLE_DEVICES", "0", /*overwrite=*/1);
  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));

  EXPECT_THAT(device->Map(std::move(fd), 2 * kMiB, "window"), IsOk());

  fake_.Script(kTwoDevices + "fail cuMemSetAccess 217\n");
  EXPECT_THAT(device->Map(std::move(duplicate), 2 * kMiB, "window of rank 1"),
              StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("window of rank 1"), HasSubstr(kUuidA))));
}

TEST_F(CudaDeviceTest, DescriptorOfAnotherSizeOrKindIsRefused) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));

  EXPECT_THAT(
      device->Map(Lease(0, 2 * kMiB), 4 * kMiB, "window"),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("window: the descriptor is not memory of 4194304 bytes")));
  EXPECT_THAT(device->Map(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)), 2 * kMiB, "window"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("window: importing its descriptor")));
}

TEST_F(CudaDeviceTest, EveryFailingStepUndoesTheOnesBefore) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto device, Open(0));

  for (const char* call : {"cuMemImportFromShareableHandle", "cuMemGetAllocationPropertiesFromHandle",
                           "cuMemAddressReserve", "cuMemMap", "cuMemSetAccess"}) {
    UniqueFd fd = Lease(0, 2 * kMiB);
    fake_.Script(kTwoDevices + "fail " + call + " 2\n");
    EXPECT_THAT(device->Map(std::move(fd), 2 * kMiB, "window"),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("window")))
        << call;
    fake_.Script(kTwoDevices);
    EXPECT_EQ(fake_.Count("live mappings"), 0) << call;
    EXPECT_EQ(fake_.Count("live reservations"), 0) << call;
    EXPECT_EQ(fake_.Count("live handles"), 0) << call;
  }
}

// A forked child shares no CUDA with its parent: its destructors must not reach the driver.
TEST_F(CudaDeviceTest, ForkedChildTouchesNothing) {
  A8A_ASSERT_OK_AND_ASSIGN(auto device, Open(0));
  A8A_ASSERT_OK_AND_ASSIGN(auto mapping, device->Map(Lease(0, 2 * kMiB), 2 * kMiB, "window"));
  const long unmaps = fake_.Count("cuMemUnmap");
  const long releases = fake_.Count("cuDevicePrimaryCtxRelease_v2");

  const pid_t child = ::fork();
  if (child == 0) {
    mapping.reset();
    device.reset();
    const bool untouched =
        fake_.Count("cuMemUnmap") == unmaps && fake_.Count("cuDevicePrimaryCtxRelease_v2") == releases;
    ::_exit(untouched ? 0 : 1);
  }

  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(fake_.Count("live mappings"), 1);
}

}  // namespace
}  // namespace a8a::client
