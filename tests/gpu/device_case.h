// A rank's part of a random case (tests/unit/kernels/random_case.h) in device memory.
#ifndef A8A_TESTS_GPU_DEVICE_CASE_H_
#define A8A_TESTS_GPU_DEVICE_CASE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/include/all_to_all.h"
#include "kernels/include/cuda_all_to_all.h"
#include "tests/gpu/gpu_group.h"
#include "tests/unit/kernels/random_case.h"

namespace a8a::kernels::test {

// Device memory that is freed with its owner.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t size_bytes);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  [[nodiscard]] std::byte* get() const { return data_; }

 private:
  std::byte* data_ = nullptr;
};

// Owns what a rank's launches point to.
class DeviceCase {
 public:
  DeviceCase(const RankCase& rank_case, const GpuGroup& group, int channel);

  const std::byte* FillInput(int round, cuda::Stream stream);
  [[nodiscard]] AllToAllParams Params(const WindowView& window) const;

 private:
  const RankCase& case_;
  const GroupView& group_;
  int channel_;
  std::vector<std::byte> host_input_;
  DeviceBuffer input_;
  DeviceBuffer arrays_;
  SplitsView splits_;
};

// `window` with the part sizes of a case.
[[nodiscard]] WindowView SizedWindow(const GpuGroup& group, int index, const Case& a_case);

void Poison(std::byte* memory, std::int64_t size_bytes, cuda::Stream stream);
[[nodiscard]] std::vector<std::byte> ReadBack(const std::byte* memory, std::int64_t size_bytes, cuda::Stream stream);

}  // namespace a8a::kernels::test

#endif  // A8A_TESTS_GPU_DEVICE_CASE_H_
