#include "client/tools/machine.h"

#include <sched.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace a8a::tools {
namespace {

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const std::size_t colon = line.find(':');
    // Arm kernels print no model name.
    if (absl::StartsWith(line, "model name") && colon != std::string::npos) {
      return std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
    }
  }
  return "unknown";
}

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : ::get_nprocs();
}

std::string Kernel() {
  utsname name = {};
  if (::uname(&name) != 0) return "unknown";
  return absl::StrCat(name.sysname, " ", name.release, " ", name.machine);
}

std::string Compiler() {
#if defined(__clang__)
  std::string text = absl::StrCat("Clang ", __clang_version__);
#else
  std::string text = absl::StrCat("GCC ", __VERSION__);
#endif
#if !defined(__OPTIMIZE__)
  absl::StrAppend(&text, ", not optimized");
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  absl::StrAppend(&text, ", with a sanitizer");
#endif
  return text;
}

std::int64_t MemoryBytes() {
  struct sysinfo info = {};
  return ::sysinfo(&info) == 0 ? static_cast<std::int64_t>(info.totalram) * info.mem_unit : 0;
}

}  // namespace

Machine DescribeMachine() {
  Machine machine{.cpu = CpuModel(),
                  .core_count = UsableCores(),
                  .kernel = Kernel(),
                  .compiler = Compiler(),
                  .memory_bytes = MemoryBytes()};
  ::getloadavg(&machine.load_1min, 1);
  return machine;
}

}  // namespace a8a::tools
