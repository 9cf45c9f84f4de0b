// What `a8a-bench control` prints.
#ifndef A8A_CLIENT_TOOLS_BENCH_CONTROL_REPORT_H_
#define A8A_CLIENT_TOOLS_BENCH_CONTROL_REPORT_H_

#include <string>

#include "client/tools/bench/control.h"
#include "client/tools/machine.h"

namespace a8a::bench {

// Machine, how it was measured, and the table last; ends with a newline.
[[nodiscard]] std::string ControlText(const tools::Machine& machine, const ControlConfig& config,
                                      const ControlResults& results);
// One JSON object with the same.
[[nodiscard]] std::string ControlJson(const tools::Machine& machine, const ControlConfig& config,
                                      const ControlResults& results);

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_CONTROL_REPORT_H_
