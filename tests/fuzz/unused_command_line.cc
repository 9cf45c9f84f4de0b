// The daemon's settings refer to this for a reload, which no target asks for; the real one brings a parser of command
// lines with it.
#include "daemon/command_line.h"
#include "kernels/base/check.h"

namespace a8a::daemon {

absl::StatusOr<Options> LoadOptions(const CommandLine&) { CheckFailed(__FILE__, __LINE__, "unused", "a reload"); }

}  // namespace a8a::daemon
