// Whether a peer's credit fits what this rank is about to send. A peer is never trusted: a credit that passes leads no
// store outside the peer's part of the window.
#ifndef A8A_KERNELS_HOST_CREDIT_CHECK_H_
#define A8A_KERNELS_HOST_CREDIT_CHECK_H_

#include <cstdint>

#include "kernels/host/cells.h"
#include "kernels/host/fault.h"

namespace a8a::kernels::host {

// What the sender does, and how large the receiver's part of the window is by the daemon's word.
struct SendTerms {
  Operation operation = Operation::kNone;
  int window_index = 0;
  std::int64_t window_size_bytes = 0;
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;
};

[[nodiscard]] FaultInfo CheckCredit(const Credit& credit, const SendTerms& terms);

// A fault that a peer tells, as this rank reports it: a peer that gave up is, from here, one that has abandoned.
[[nodiscard]] FaultInfo AsToldByPeer(const FaultInfo& fault);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_CREDIT_CHECK_H_
