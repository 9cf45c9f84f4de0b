// A fault of one pair of ranks with its numbers, and how a rank reports it.
#ifndef A8A_KERNELS_HOST_FAULT_H_
#define A8A_KERNELS_HOST_FAULT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/include/flags_layout.h"

namespace a8a::kernels::host {

// As it travels in credit and done cells.
struct FaultInfo {
  Fault fault = Fault::kNone;
  std::int64_t expected = 0;
  std::int64_t actual = 0;

  [[nodiscard]] bool ok() const { return fault == Fault::kNone; }
};

// What ErrorRecord holds, plus the names of rank and channel: enough to write the message.
struct FaultReport {
  Operation operation = Operation::kNone;
  int rank = 0;
  int channel = 0;
  std::uint64_t epoch = 0;
  int peer = -1;  // -1: the group's end, or a fault in this rank's own splits
  bool as_sender = false;
  FaultInfo info;
  std::uint64_t abort_word = 0;
};

[[nodiscard]] absl::StatusCode CodeOf(Fault fault);

// The error that the rank returns: names ranks, channel, epoch, expected and actual.
[[nodiscard]] absl::Status ToStatus(const FaultReport& report);

// Whether `a` is told rather than `b` when one all-to-all has both: the plainer cause, then the lower peer. A pair
// that timed out is often only the consequence of another fault.
[[nodiscard]] bool IsPlainer(const FaultReport& a, const FaultReport& b);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_FAULT_H_
