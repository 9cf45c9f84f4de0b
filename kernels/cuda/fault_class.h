// A fault with its numbers on the device, and how plain a cause it is; equal to kernels/host/fault.cc, which device
// code cannot call (tests/gpu/fault_class_test.cc compares the two).
#ifndef A8A_KERNELS_CUDA_FAULT_CLASS_H_
#define A8A_KERNELS_CUDA_FAULT_CLASS_H_

#include <cstdint>

#include "kernels/include/flags_layout.h"

namespace a8a::kernels::cuda {

// Without initializers, so that it can lie in shared memory.
struct FaultInfo {
  Fault fault;
  std::int64_t expected;
  std::int64_t actual;

  [[nodiscard]] constexpr bool ok() const { return fault == Fault::kNone; }
};

// Lower is plainer: the group's end, what a rank did wrong, an unprepared plan, who did not come.
constexpr std::uint32_t CauseClass(Fault fault) {
  switch (fault) {
    case Fault::kAborted:
      return 0;
    case Fault::kNotPrepared:
      return 2;
    case Fault::kDeadline:
    case Fault::kAbandoned:
      return 3;
    default:
      return 1;
  }
}

// The absl::StatusCode, as a number.
constexpr int StatusCodeOf(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return 0;
    case Fault::kNegativeSplit:
    case Fault::kSplitOverflow:
    case Fault::kBeyondInput:
    case Fault::kOverlappingOutput:
      return 3;  // INVALID_ARGUMENT
    case Fault::kBeyondWindow:
      return 11;  // OUT_OF_RANGE
    case Fault::kSplitMismatch:
    case Fault::kRowBytesMismatch:
    case Fault::kWindowMismatch:
    case Fault::kOperationMismatch:
    case Fault::kNotPrepared:
      return 9;  // FAILED_PRECONDITION
    case Fault::kDeadline:
    case Fault::kAbandoned:
      return 4;  // DEADLINE_EXCEEDED
    case Fault::kAborted:
      return 10;  // ABORTED
  }
  return 13;  // INTERNAL
}

// A fault that a peer tells, as this rank reports it: a peer that gave up is, from here, one that has abandoned.
constexpr Fault AsToldByPeer(Fault fault) {
  return fault == Fault::kDeadline || fault == Fault::kAborted ? Fault::kAbandoned : fault;
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_FAULT_CLASS_H_
