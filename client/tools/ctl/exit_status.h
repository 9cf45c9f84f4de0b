// What a8actl's exit status tells a script. Stable: client/tools/ctl/README.md documents it.
#ifndef A8A_CLIENT_TOOLS_CTL_EXIT_STATUS_H_
#define A8A_CLIENT_TOOLS_CTL_EXIT_STATUS_H_

#include "absl/status/status.h"

namespace a8a::ctl {

inline constexpr int kExitOk = 0;
inline constexpr int kExitNotWell = 1;      // there is an answer, and it is not a good one
inline constexpr int kExitUsage = 2;        // a flag or argument is wrong; nothing was done
inline constexpr int kExitUnreachable = 3;  // the daemon does not run, or does not answer in time
inline constexpr int kExitDenied = 4;       // the caller may not
inline constexpr int kExitRefused = 5;      // the daemon refused: unknown id, wrong state, a limit
inline constexpr int kExitFailed = 6;       // anything else

[[nodiscard]] inline int ExitStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    case absl::StatusCode::kPermissionDenied:
      return kExitDenied;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kResourceExhausted:
      return kExitRefused;
    default:
      return kExitFailed;
  }
}

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_EXIT_STATUS_H_
