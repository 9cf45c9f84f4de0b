#include "absl/status/status.h"
#include "client/src/cuda_data_plane.h"

namespace a8a::client {

absl::StatusOr<DeviceBinding> BindCudaDevice(int /*ordinal*/, const std::vector<DeviceInfo>& /*devices*/) {
  return absl::UnimplementedError(
      "this build of liba8a has no data plane for CUDA, only for host; it takes nvcc 12.8 or newer at build time");
}

}  // namespace a8a::client
