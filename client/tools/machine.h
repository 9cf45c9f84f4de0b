// What a measurement was made on, as every report of one must say.
#ifndef A8A_CLIENT_TOOLS_MACHINE_H_
#define A8A_CLIENT_TOOLS_MACHINE_H_

#include <cstdint>
#include <string>

namespace a8a::tools {

struct Machine {
  std::string cpu;       // model name as the kernel prints it
  int core_count = 0;    // that this process may use
  std::string kernel;    // "Linux 6.1.0-13-amd64 x86_64"
  std::string compiler;  // of this binary, with what slows it down: no optimization, a sanitizer
  std::int64_t memory_bytes = 0;
  double load_1min = 0;  // when asked: a busy machine measures itself
};

[[nodiscard]] Machine DescribeMachine();

}  // namespace a8a::tools

#endif  // A8A_CLIENT_TOOLS_MACHINE_H_
