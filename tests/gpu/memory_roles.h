// What the processes of the GPU memory tests do: the daemon's part, which makes no context, and a worker's.
#ifndef A8A_TESTS_GPU_MEMORY_ROLES_H_
#define A8A_TESTS_GPU_MEMORY_ROLES_H_

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "client/src/cuda_device.h"
#include "daemon/memory/cuda_memory.h"
#include "gtest/gtest.h"
#include "tests/gpu/gpu_usage.h"
#include "tests/support/status_matchers.h"

#define ASSERT_CUDA_OK(expression) ASSERT_EQ(cudaSuccess, expression) << cudaGetErrorString(cudaGetLastError())

namespace a8a {

inline constexpr std::int64_t kMiB = std::int64_t{1} << 20;
inline constexpr std::int64_t kGiB = std::int64_t{1} << 30;

class GpuMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = GpuMissing(); !missing.empty()) GTEST_SKIP() << missing;
  }
};

// The first device's provider, as the daemon makes it; null after a failed expectation.
inline std::unique_ptr<daemon::MemoryProvider> MakeProvider() {
  absl::StatusOr<daemon::CudaProviders> made = daemon::MakeCudaProviders({});
  EXPECT_THAT(made, IsOk());
  return made.ok() ? std::move(made->providers.front()) : nullptr;
}

inline std::shared_ptr<const client::CudaDevice> OpenDevice() {
  auto driver = cuda::Driver::Load();
  EXPECT_THAT(driver, IsOk());
  auto device = client::CudaDevice::Open(*std::move(driver), 0);
  EXPECT_THAT(device, IsOk());
  return *std::move(device);
}

inline std::unique_ptr<client::Mapping> MapWindow(UniqueFd fd, std::int64_t size_bytes) {
  auto mapping = OpenDevice()->Map(std::move(fd), size_bytes, "window");
  EXPECT_THAT(mapping, IsOk());
  return *std::move(mapping);
}

// How many of the bytes differ from `expected`.
inline std::int64_t CountOther(const std::byte* device_data, std::int64_t size_bytes, unsigned char expected) {
  std::vector<unsigned char> bytes(static_cast<std::size_t>(size_bytes), static_cast<unsigned char>(~expected));
  const cudaError_t error = cudaMemcpy(bytes.data(), device_data, bytes.size(), cudaMemcpyDeviceToHost);
  EXPECT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
  return size_bytes - std::count(bytes.begin(), bytes.end(), expected);
}

inline void Fill(std::byte* device_data, std::int64_t size_bytes, unsigned char value) {
  ASSERT_CUDA_OK(cudaMemset(device_data, value, static_cast<std::size_t>(size_bytes)));
  ASSERT_CUDA_OK(cudaDeviceSynchronize());
}

}  // namespace a8a

#endif  // A8A_TESTS_GPU_MEMORY_ROLES_H_
