// The children's part of `a8a-bench control`.
//
//   start   rank_count children: attach, join, register a window, all together, again and again
//   attach  one child: attach and detach, one after the other
//   crowd   rank_count children hold session_count sessions and group_count groups among them; one more asks the daemon
//           for its statistics before and with them
#ifndef A8A_CLIENT_TOOLS_BENCH_CONTROL_ROLES_H_
#define A8A_CLIENT_TOOLS_BENCH_CONTROL_ROLES_H_

#include "client/tools/rank_processes.h"

namespace a8a::bench {

inline constexpr char kStartRole[] = "control-start";
inline constexpr char kAttachRole[] = "control-attach";
inline constexpr char kCrowdRole[] = "control-crowd";

// Repeats that are measured but not reported: first connections, page faults, caches.
inline constexpr int kWarmUpStarts = 3;
inline constexpr int kWarmUpCalls = 20;

// Runs a child. Returns its exit status: 0, or 1 after it has written why into the board.
[[nodiscard]] int RunControlRole(const tools::RankInvocation& invocation);

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_CONTROL_ROLES_H_
