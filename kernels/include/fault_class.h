// What a fault is to its reader: how plain a cause, and which status. Constant expressions, for both data planes.
#ifndef A8A_KERNELS_INCLUDE_FAULT_CLASS_H_
#define A8A_KERNELS_INCLUDE_FAULT_CLASS_H_

#include <cstdint>

#include "kernels/include/flags_layout.h"

namespace a8a::kernels {

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

}  // namespace a8a::kernels

#endif  // A8A_KERNELS_INCLUDE_FAULT_CLASS_H_
