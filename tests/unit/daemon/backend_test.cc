#include "daemon/backend.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_libcuda/fake_libcuda.h"
#include "tests/support/status_matchers.h"

namespace a8a::daemon {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kMigInstance[] =
    "device uuid=aa000000000000000000000000000000 gpu_uuid=ff000000000000000000000000000000\n";

// This binary finds the fake driver under the name of the real one, by its run path.
class BackendTest : public testing::Test {
 protected:
  static absl::StatusOr<std::vector<std::unique_ptr<MemoryProvider>>> Make(Backend backend) {
    Options options;
    options.backend = backend;
    return MakeProviders(options);
  }

  cuda::FakeLibcuda fake_{A8A_FAKE_LIBCUDA_PATH, testing::TempDir() + "/backend_test_script"};
};

TEST_F(BackendTest, AutoTakesTheGpusWhereThereAreSome) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto providers, Make(Backend::kAuto));

  ASSERT_THAT(providers, SizeIs(2));
  EXPECT_EQ(providers[0]->device().name, "cuda:0");
}

TEST_F(BackendTest, AutoTakesTheHostWithoutAUsableGpu) {
  ::setenv("CUDA_VISIBLE_DEVICES", "", /*overwrite=*/1);
  A8A_ASSERT_OK_AND_ASSIGN(const auto without, Make(Backend::kAuto));
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  fake_.Script(kMigInstance);
  A8A_ASSERT_OK_AND_ASSIGN(const auto refused, Make(Backend::kAuto));

  EXPECT_EQ(without.at(0)->device().name, "host");
  EXPECT_EQ(refused.at(0)->device().name, "host");
}

TEST_F(BackendTest, CudaWithoutAUsableGpuIsAnErrorWithTheReason) {
  fake_.Script(kMigInstance);

  EXPECT_THAT(Make(Backend::kCuda), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("MIG instance")));
}

TEST_F(BackendTest, HostAsksNoDriver) {
  const long calls = fake_.Count("cuInit");

  A8A_ASSERT_OK_AND_ASSIGN(const auto providers, Make(Backend::kHost));

  EXPECT_EQ(providers.at(0)->device().name, "host");
  EXPECT_EQ(fake_.Count("cuInit"), calls);
}

TEST_F(BackendTest, LimitOfADeviceThatIsNotThereEndsTheStartInAutoToo) {
  Options options;
  options.cuda_memory.pool_limit_bytes_by_device = {{"cuda:9", 4096}};

  EXPECT_THAT(MakeProviders(options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cuda:9")));
}

}  // namespace
}  // namespace a8a::daemon
