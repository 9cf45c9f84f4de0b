#include "tests/support/slow_end.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "kernels/base/check.h"
#include "kernels/base/unique_fd.h"

namespace a8a::testing {

bool SlowEnd::Start(const std::function<void()>& start) {
  const UniqueFd own_namespace(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  if (!own_namespace.valid() || ::unshare(CLONE_NEWPID) != 0) return false;
  start();
  holder_ = ::fork();
  if (holder_ == 0) {
    // Ended by the kernel when the first process ends.
    while (true) ::pause();
  }
  A8A_CHECK(holder_ > 0, "fork");
  A8A_CHECK(::setns(own_namespace.get(), CLONE_NEWPID) == 0, "setns");
  return true;
}

void SlowEnd::Release() {
  if (holder_ > 0) ::waitpid(std::exchange(holder_, -1), nullptr, 0);
}

}  // namespace a8a::testing
