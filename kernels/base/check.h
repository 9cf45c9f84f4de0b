// A8A_CHECK(condition, message): ends the process with place, condition and message when our own invariant is broken.
// Never for input: no byte of a request, file or peer may reach it.
#ifndef A8A_KERNELS_BASE_CHECK_H_
#define A8A_KERNELS_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"

namespace a8a {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition, absl::string_view message) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %s\n", file, line, condition, std::string(message).c_str());
  std::abort();
}

}  // namespace a8a

#define A8A_CHECK(condition, message)                                              \
  do {                                                                             \
    if (!(condition)) ::a8a::CheckFailed(__FILE__, __LINE__, #condition, message); \
  } while (false)

#endif  // A8A_KERNELS_BASE_CHECK_H_
