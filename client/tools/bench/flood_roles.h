// The children's part of `a8a-bench flood`: child 0 asks for statistics all the time under one uid, the others flood
// under another. Each kind of flood is one class in flood_roles.cc.
#ifndef A8A_CLIENT_TOOLS_BENCH_FLOOD_ROLES_H_
#define A8A_CLIENT_TOOLS_BENCH_FLOOD_ROLES_H_

#include "client/tools/rank_processes.h"

namespace a8a::bench {

inline constexpr char kFloodRole[] = "flood";

// Runs a child. Returns its exit status: 0, or 1 after it has written why into the board.
[[nodiscard]] int RunFloodRole(const tools::RankInvocation& invocation);

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_FLOOD_ROLES_H_
