#include <cstdio>
#include <cstdlib>

#include "client/tools/bench/cuda_roles.h"

namespace a8a::bench {

int RunCudaRole(const tools::RankInvocation&) {
  std::fprintf(stderr, "a8a-bench: this a8a-bench was built without CUDA; it takes nvcc 12.8 or newer at build time\n");
  return EXIT_FAILURE;
}

}  // namespace a8a::bench
