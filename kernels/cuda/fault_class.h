// A fault with its numbers, on the device.
#ifndef A8A_KERNELS_CUDA_FAULT_CLASS_H_
#define A8A_KERNELS_CUDA_FAULT_CLASS_H_

#include <cstdint>

#include "kernels/include/fault_class.h"
#include "kernels/include/flags_layout.h"

namespace a8a::kernels::cuda {

// Without initializers, so that it can lie in shared memory.
struct FaultInfo {
  Fault fault;
  std::int64_t expected;
  std::int64_t actual;

  [[nodiscard]] constexpr bool ok() const { return fault == Fault::kNone; }
};

using kernels::CauseClass;
using kernels::StatusCodeOf;

// A fault that a peer tells, as this rank reports it: a peer that gave up is, from here, one that has abandoned.
constexpr Fault AsToldByPeer(Fault fault) {
  return fault == Fault::kDeadline || fault == Fault::kAborted ? Fault::kAbandoned : fault;
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_FAULT_CLASS_H_
