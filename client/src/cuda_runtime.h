// Small things around the CUDA runtime, which the client shares with the application.
#ifndef A8A_CLIENT_SRC_CUDA_RUNTIME_H_
#define A8A_CLIENT_SRC_CUDA_RUNTIME_H_

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace a8a::client {

// RESOURCE_EXHAUSTED for want of memory, INTERNAL for the rest, with the runtime's name for it. Takes the error off the
// runtime, so that the application does not meet it again.
[[nodiscard]] inline absl::Status CudaToStatus(cudaError_t error, absl::string_view doing) {
  if (error == cudaSuccess) return absl::OkStatus();
  static_cast<void>(cudaGetLastError());
  const auto code =
      error == cudaErrorMemoryAllocation ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal;
  return absl::Status(code, absl::StrCat(doing, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")"));
}

// Makes a device current for a scope, and the one that was before again after it.
class CurrentDevice {
 public:
  explicit CurrentDevice(int ordinal) {
    if (cudaGetDevice(&previous_) != cudaSuccess || previous_ == ordinal) previous_ = -1;
    if (previous_ >= 0) static_cast<void>(cudaSetDevice(ordinal));
  }
  ~CurrentDevice() {
    if (previous_ >= 0) static_cast<void>(cudaSetDevice(previous_));
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int previous_ = -1;  // -1: nothing to undo
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_CUDA_RUNTIME_H_
