#include "daemon/service_manager.h"

#include <fcntl.h>
#include <systemd/sd-daemon.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "daemon/failpoint.h"

namespace a8a::daemon {

bool ServiceManager::present() {
  const char* const socket = std::getenv("NOTIFY_SOCKET");
  return socket != nullptr && *socket != '\0';
}

std::map<std::string, UniqueFd> ServiceManager::TakeDescriptors() {
  std::map<std::string, UniqueFd> descriptors;
  char** names = nullptr;
  const int count =
      A8A_FAILPOINT("service_manager.listen_fds", ::sd_listen_fds_with_names(/*unset_environment=*/1, &names));
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    if (names != nullptr) descriptors.emplace(names[i], std::move(fd));
  }
  for (int i = 0; names != nullptr && i < count; ++i) std::free(names[i]);
  std::free(names);
  return descriptors;
}

void ServiceManager::Keep(const std::string& name, int fd) {
  if (!present()) return;
  // FDPOLL=0: a process handle becomes readable when the process ends, which the next daemon has yet to see.
  const std::string state = absl::StrCat("FDSTORE=1\nFDPOLL=0\nFDNAME=", name);
  static_cast<void>(A8A_FAILPOINT("service_manager.notify_with_fds",
                                  ::sd_pid_notify_with_fds(/*pid=*/0, /*unset_environment=*/0, state.c_str(), &fd, 1)));
}

void ServiceManager::Drop(const std::string& name) { Notify(absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", name)); }

void ServiceManager::Notify(const std::string& state) {
  if (!present()) return;
  static_cast<void>(A8A_FAILPOINT("service_manager.notify", ::sd_notify(/*unset_environment=*/0, state.c_str())));
}

}  // namespace a8a::daemon
