// Checks of what callers send, shared by all of the core. Each returns INVALID_ARGUMENT naming the field, its value and
// what is allowed. No side effects; any thread.
#ifndef A8A_DAEMON_CORE_VALIDATION_H_
#define A8A_DAEMON_CORE_VALIDATION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/core/core.h"

namespace a8a::daemon {

enum class Emptiness { kAllowed, kRefused };

// Printable ASCII of at most `size_bytes_max`. Other bytes could forge log lines and terminal output.
[[nodiscard]] absl::Status CheckText(absl::string_view field, absl::string_view value, int size_bytes_max,
                                     Emptiness emptiness);

// allowed: [low, high].
[[nodiscard]] absl::Status CheckRange(absl::string_view field, std::int64_t value, std::int64_t low, std::int64_t high);

// The page size to use: 100 for 0.
[[nodiscard]] absl::StatusOr<int> CheckPageSize(int page_size);

// PERMISSION_DENIED for anybody but an administrator.
[[nodiscard]] absl::Status CheckAdministrator(const Caller& caller);

// Equality without an early exit, so that the time taken does not tell how much of a secret was right.
[[nodiscard]] bool SecretsEqual(absl::string_view a, absl::string_view b);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_VALIDATION_H_
