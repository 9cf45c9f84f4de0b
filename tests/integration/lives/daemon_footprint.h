// What a daemon's process holds for its sessions, as the kernel counts it.
#ifndef A8A_TESTS_INTEGRATION_LIVES_DAEMON_FOOTPRINT_H_
#define A8A_TESTS_INTEGRATION_LIVES_DAEMON_FOOTPRINT_H_

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace a8a::testing {

struct DaemonFootprint {
  std::ptrdiff_t descriptors = 0;
  int control_pages = 0;  // mappings of memfds

  static DaemonFootprint Of(pid_t pid) {
    DaemonFootprint footprint;
    const std::filesystem::directory_iterator begin(absl::StrCat("/proc/", pid, "/fd"));
    footprint.descriptors = std::distance(begin, std::filesystem::directory_iterator());
    std::ifstream maps(absl::StrCat("/proc/", pid, "/maps"));
    for (std::string line; std::getline(maps, line);) footprint.control_pages += absl::StrContains(line, "/memfd:");
    return footprint;
  }

  [[nodiscard]] bool IsWithin(const DaemonFootprint& other) const {
    return descriptors <= other.descriptors && control_pages <= other.control_pages;
  }
  friend std::ostream& operator<<(std::ostream& stream, const DaemonFootprint& footprint) {
    return stream << footprint.descriptors << " descriptors, " << footprint.control_pages << " control pages";
  }
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_LIVES_DAEMON_FOOTPRINT_H_
