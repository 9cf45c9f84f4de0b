// A number that is an int by its meaning (a rank, a channel) as an index of a container.
#ifndef A8A_KERNELS_BASE_INDEX_H_
#define A8A_KERNELS_BASE_INDEX_H_

#include <cstddef>

namespace a8a {

// `value` is not negative.
constexpr std::size_t Index(int value) { return static_cast<std::size_t>(value); }

}  // namespace a8a

#endif  // A8A_KERNELS_BASE_INDEX_H_
