// A rank of `a8a-bench cuda`.
#ifndef A8A_CLIENT_TOOLS_BENCH_CUDA_ROLES_H_
#define A8A_CLIENT_TOOLS_BENCH_CUDA_ROLES_H_

#include "client/tools/rank_processes.h"

namespace a8a::bench {

inline constexpr char kCudaRole[] = "cuda";

// Repeats that are measured but not reported.
inline constexpr int kCudaWarmUps = 2;

// Runs a rank. Returns its exit status: 0, or 1 after it has written why into the board. In a build without CUDA it
// always fails so.
[[nodiscard]] int RunCudaRole(const tools::RankInvocation& invocation);

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_CUDA_ROLES_H_
