// The data plane for GPUs: kernels on a stream.
//
// Built from cuda_data_plane.cc where there is a CUDA compiler (A8A_ENABLE_CUDA), from cuda_data_plane_none.cc
// elsewhere.
#ifndef A8A_CLIENT_SRC_CUDA_DATA_PLANE_H_
#define A8A_CLIENT_SRC_CUDA_DATA_PLANE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "client/src/data_plane.h"

namespace a8a::client {

// The device that cudaSetDevice(ordinal) chooses in this process, which the daemon knows by its UUID. Holds its primary
// context as long as the data plane lives.
//
// Errors: UNIMPLEMENTED (built without CUDA, or no driver here), NOT_FOUND (the daemon does not have the device), those
// of CudaDevice::Open, RESOURCE_EXHAUSTED (no device memory for plans).
[[nodiscard]] absl::StatusOr<DeviceBinding> BindCudaDevice(int ordinal, const std::vector<DeviceInfo>& devices);

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_CUDA_DATA_PLANE_H_
