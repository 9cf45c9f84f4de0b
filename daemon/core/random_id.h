// Numbers that nobody else has, for things that are told apart across restarts.
#ifndef A8A_DAEMON_CORE_RANDOM_ID_H_
#define A8A_DAEMON_CORE_RANDOM_ID_H_

#include <cstdint>
#include <random>

namespace a8a::daemon {

// Never 0.
[[nodiscard]] inline std::uint64_t RandomId() {
  std::random_device random;
  return (std::uint64_t{random()} << 32 | random()) | 1;
}

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_RANDOM_ID_H_
