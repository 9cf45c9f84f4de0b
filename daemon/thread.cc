#include "daemon/thread.h"

#include <pthread.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/failpoint.h"

namespace a8a::daemon {

absl::StatusOr<std::thread> StartThread(const std::string& name, std::function<void()> run) {
  try {
    if (A8A_FAILPOINT("thread.start", 0) != 0) throw std::system_error(errno, std::generic_category());
    std::thread thread(std::move(run));
    ::pthread_setname_np(thread.native_handle(), name.substr(0, 15).c_str());
    return thread;
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot start thread ", name, ": ", error.code().message()));
  }
}

}  // namespace a8a::daemon
