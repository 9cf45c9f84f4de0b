#include "kernels/base/cuda_driver.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/base/cuda_device.h"
#include "kernels/base/cuda_status.h"
#include "tests/fakes/fake_libcuda/fake_libcuda.h"
#include "tests/support/status_matchers.h"

namespace a8a::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kUuid0[] = "device uuid=00112233445566778899aabbccddeeff";

class CudaDriverTest : public testing::Test {
 protected:
  FakeLibcuda fake_{A8A_FAKE_LIBCUDA_PATH, testing::TempDir() + "/cuda_driver_test_script"};
};

TEST_F(CudaDriverTest, MissingLibraryIsUnimplementedAndNamed) {
  EXPECT_THAT(Driver::Load("libcuda-that-is-nowhere.so.1"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("libcuda-that-is-nowhere.so.1 is not there")));
}

TEST_F(CudaDriverTest, LibraryWithoutTheCallsIsTooOld) {
  EXPECT_THAT(Driver::Load("libm.so.6"), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                  AllOf(HasSubstr("has no cuInit"), HasSubstr("CUDA 11.4 or newer"))));
}

TEST_F(CudaDriverTest, OldDriverIsRefusedWithBothVersions) {
  fake_.Script("version 11030\n");

  EXPECT_THAT(Driver::Load(fake_.library()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("speaks CUDA 11.3"), HasSubstr("CUDA 11.4 or newer"))));
}

TEST_F(CudaDriverTest, NoDeviceIsUnimplemented) {
  ::setenv("CUDA_VISIBLE_DEVICES", "", /*overwrite=*/1);

  EXPECT_THAT(Driver::Load(fake_.library()),
              StatusIs(absl::StatusCode::kUnimplemented, AllOf(HasSubstr("CUDA 13.0"), HasSubstr("no device"))));
}

TEST_F(CudaDriverTest, FailingInitializationKeepsTheDriversName) {
  fake_.Script("fail cuInit 46\n");

  EXPECT_THAT(Driver::Load(fake_.library()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("CUDA_ERROR_DEVICE_UNAVAILABLE (46)")));
}

TEST_F(CudaDriverTest, DevicesShowUuidAsTheDriverPrintsIt) {
  fake_.Script(std::string(kUuid0) + " bus=7 memory=4194304\n");
  A8A_ASSERT_OK_AND_ASSIGN(const auto driver, Driver::Load(fake_.library()));

  A8A_ASSERT_OK_AND_ASSIGN(const auto devices, VisibleDevices(*driver));

  ASSERT_THAT(devices, SizeIs(1));
  EXPECT_EQ(devices[0].uuid, "GPU-00112233-4455-6677-8899-aabbccddeeff");
  EXPECT_EQ(devices[0].pci_bus, 7);
  EXPECT_EQ(devices[0].memory_bytes, 4194304);
  EXPECT_THAT(CheckShareable(devices[0]), IsOk());
}

TEST_F(CudaDriverTest, AFailingQuestionFailsTheList) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto driver, Driver::Load(fake_.library()));
  fake_.Script("fail cuDeviceTotalMem_v2 999\n");

  EXPECT_THAT(VisibleDevices(*driver), StatusIs(absl::StatusCode::kInternal, HasSubstr("CUDA_ERROR_UNKNOWN")));
}

TEST(CudaStatusTest, EachKindOfErrorHasItsCode) {
  const auto code = [](Result result) { return ResultToStatus(result, "NAME", "trying").code(); };

  EXPECT_EQ(code(kSuccess), absl::StatusCode::kOk);
  EXPECT_EQ(code(kResultOutOfMemory), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code(kResultSystemNotReady), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(kResultMpsConnectionFailed), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(kResultMpsClientTerminated), absl::StatusCode::kUnavailable);
  EXPECT_EQ(code(kResultPeerAccessUnsupported), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(code(kResultNotPermitted), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(code(kResultStubLibrary), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(code(kResultInvalidValue), absl::StatusCode::kInternal);
  EXPECT_EQ(code(123456), absl::StatusCode::kInternal);
}

TEST(CudaStatusTest, BrokenContextSaysThatOnlyARestartHelps) {
  EXPECT_TRUE(IsSticky(kResultIllegalAddress));
  EXPECT_FALSE(IsSticky(kResultOutOfMemory));
  EXPECT_THAT(ResultToStatus(kResultIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "mapping 4096 bytes"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("mapping 4096 bytes: CUDA_ERROR_ILLEGAL_ADDRESS (700)"), HasSubstr("restart"))));
}

}  // namespace
}  // namespace a8a::cuda
