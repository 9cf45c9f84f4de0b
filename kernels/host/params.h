// What is checked before an all-to-all uses an epoch: everything about a call that can be seen without its splits.
#ifndef A8A_KERNELS_HOST_PARAMS_H_
#define A8A_KERNELS_HOST_PARAMS_H_

#include "absl/status/status.h"
#include "kernels/include/all_to_all.h"

namespace a8a::kernels::host {

// Group, window, channel, timeout.
[[nodiscard]] absl::Status CheckGroup(const AllToAllParams& params);

// Both views, and the split arrays.
[[nodiscard]] absl::Status CheckViews(const AllToAllParams& params);

// The input pointer: there, and overlapping neither the own output nor a peer's part of the output window. Requires
// the two above.
[[nodiscard]] absl::Status CheckInput(const AllToAllParams& params);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_PARAMS_H_
