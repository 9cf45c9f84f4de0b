#include "daemon/service_manager.h"

#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "daemon/failpoint.h"

namespace a8a::daemon {
namespace {

// Of any kind, listening or not.
bool IsSocket(const UniqueFd& fd) {
  return A8A_FAILPOINT("service_manager.is_socket", ::sd_is_socket(fd.get(), AF_UNSPEC, /*type=*/0, /*listening=*/-1)) >
         0;
}

}  // namespace

bool ServiceManager::present() {
  const char* const socket = std::getenv("NOTIFY_SOCKET");
  return socket != nullptr && *socket != '\0';
}

PassedDescriptors ServiceManager::TakeDescriptors() {
  PassedDescriptors descriptors;
  char** names = nullptr;
  const int count =
      A8A_FAILPOINT("service_manager.listen_fds", ::sd_listen_fds_with_names(/*unset_environment=*/1, &names));
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    const std::string name = names == nullptr ? "" : names[i];
    if (IsSocket(fd)) {
      descriptors.sockets.push_back({.name = name, .fd = std::move(fd)});
    } else {
      descriptors.kept.emplace(name, std::move(fd));
    }
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

void ServiceManager::NotifyReloading() {
  timespec now = {};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t now_us = absl::ToInt64Microseconds(absl::DurationFromTimespec(now));
  Notify(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", now_us));
}

std::string ServiceManager::StatusLine(const std::string& text) {
  return absl::StrCat("STATUS=", absl::StrReplaceAll(text, {{"\n", " "}}));
}

absl::Duration ServiceManager::WatchdogPeriod() {
  std::uint64_t period_us = 0;
  const int enabled =
      A8A_FAILPOINT("service_manager.watchdog_enabled", ::sd_watchdog_enabled(/*unset_environment=*/0, &period_us));
  return enabled > 0 ? absl::Microseconds(period_us) : absl::ZeroDuration();
}

}  // namespace a8a::daemon
