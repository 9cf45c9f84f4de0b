// Reading split and offset arrays, once, into numbers that are safe to use.
#ifndef A8A_KERNELS_HOST_SPLITS_H_
#define A8A_KERNELS_HOST_SPLITS_H_

#include <array>
#include <cstdint>

#include "kernels/host/fault.h"
#include "kernels/include/all_to_all.h"

namespace a8a::kernels::host {

// rows[p] rows for (input) or from (output) rank p, from flat row first_row[p] of the view on. With a fault, the
// numbers mean nothing.
struct SplitTable {
  FaultInfo fault;
  std::array<std::int64_t, kMaxWorldSize> rows = {};
  std::array<std::int64_t, kMaxWorldSize> first_row = {};
};

// Requires checked parameters (params.h).
[[nodiscard]] SplitTable ReadInputSplits(const AllToAllParams& params);
[[nodiscard]] SplitTable ReadOutputSplits(const AllToAllParams& params);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_SPLITS_H_
