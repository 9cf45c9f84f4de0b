// The one place where a CUDA error becomes a Status. Serves CUresult and cudaError_t alike: since CUDA 10.1 the numbers
// are the same.
#ifndef A8A_KERNELS_BASE_CUDA_STATUS_H_
#define A8A_KERNELS_BASE_CUDA_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "kernels/base/cuda_abi.h"

namespace a8a::cuda {

// Whether the context that returned this is broken for good: every later call returns it too, until the process ends.
[[nodiscard]] bool IsSticky(Result result);

// `name` is the driver's ("CUDA_ERROR_..."), `doing` says what was tried ("mapping 4096 bytes"):
//   RESOURCE_EXHAUSTED   out of memory, or of peers that a device can have.
//   UNAVAILABLE          the device, its link, the fabric manager or MPS does not answer.
//   FAILED_PRECONDITION  the machine cannot do it, or the process's context is broken (IsSticky).
//   PERMISSION_DENIED    the driver does not permit it.
//   UNIMPLEMENTED        there is no driver behind the library.
//   INTERNAL             everything else.
[[nodiscard]] absl::Status ResultToStatus(Result result, absl::string_view name, absl::string_view doing);

}  // namespace a8a::cuda

#endif  // A8A_KERNELS_BASE_CUDA_STATUS_H_
