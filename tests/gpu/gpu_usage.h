// What NVML says of the GPUs: whether there is one, and how much of their memory is used, by whomever.
//
// Makes no CUDA context, so it measures without being seen in the measure. Not thread-safe.
#ifndef A8A_TESTS_GPU_GPU_USAGE_H_
#define A8A_TESTS_GPU_GPU_USAGE_H_

#include <cstdint>
#include <string>

namespace a8a {

// Why there is no GPU to test on; empty if there is one.
[[nodiscard]] std::string GpuMissing();

// Of all GPUs together; requires that there is one. Without what the driver reserves for itself.
[[nodiscard]] std::int64_t GpuUsedBytes();

// "NVIDIA H100 80GB HBM3, driver 580.159.04", of the first.
[[nodiscard]] std::string GpuDescription();

}  // namespace a8a

#endif  // A8A_TESTS_GPU_GPU_USAGE_H_
