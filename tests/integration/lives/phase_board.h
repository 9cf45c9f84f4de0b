// What each rank of a test is doing, in a file that the test and the ranks map: so that the test can say where it
// killed.
#ifndef A8A_TESTS_INTEGRATION_LIVES_PHASE_BOARD_H_
#define A8A_TESTS_INTEGRATION_LIVES_PHASE_BOARD_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "kernels/base/check.h"
#include "kernels/base/unique_fd.h"
#include "kernels/include/limits.h"

namespace a8a::testing {

enum class Phase : int { kStarting, kJoining, kRegistering, kPreparing, kAllToAll, kBetween };
inline constexpr const char* kPhaseNames[] = {"before joining", "joining",       "registering windows",
                                              "in Prepare",     "in all-to-all", "between all-to-alls"};
inline constexpr int kPhaseCount = sizeof(kPhaseNames) / sizeof(kPhaseNames[0]);

// Both sides open the same path; who comes first makes the file. Stays mapped until the process ends.
class PhaseBoard {
 public:
  // Without a path: of this process alone.
  explicit PhaseBoard(const std::string& path) {
    const UniqueFd fd(path.empty() ? -1 : ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    A8A_CHECK(path.empty() || (fd.valid() && ::ftruncate(fd.get(), sizeof(Ranks)) == 0), path);
    const int flags = path.empty() ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    void* const mapped = ::mmap(nullptr, sizeof(Ranks), PROT_READ | PROT_WRITE, flags, fd.get(), 0);
    A8A_CHECK(mapped != MAP_FAILED, path);
    ranks_ = static_cast<Ranks*>(mapped);
  }

  [[nodiscard]] std::atomic<Phase>& of(int rank) const { return ranks_->phases[rank]; }

 private:
  struct Ranks {
    std::atomic<Phase> phases[kMaxWorldSize];
  };
  Ranks* ranks_ = nullptr;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_LIVES_PHASE_BOARD_H_
