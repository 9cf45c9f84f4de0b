// Numbers that several tests of the kernels use.
#ifndef A8A_TESTS_UNIT_KERNELS_TEST_VALUES_H_
#define A8A_TESTS_UNIT_KERNELS_TEST_VALUES_H_

#include <cstdint>
#include <limits>

namespace a8a::kernels {

// What no sum or product may start from.
inline constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
// A window with room for a few rows.
inline constexpr std::int64_t kWindowBytes = 1000;

}  // namespace a8a::kernels

#endif  // A8A_TESTS_UNIT_KERNELS_TEST_VALUES_H_
