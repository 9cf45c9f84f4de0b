#include "daemon/watchdog.h"

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/log.h"
#include "daemon/service_manager.h"
#include "daemon/thread.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

// So that some probes may fail, or be slow, on a machine that is busy for a moment.
constexpr int kProbesPerPeriod = 4;

}  // namespace

absl::StatusOr<std::unique_ptr<Watchdog>> Watchdog::Start(absl::Duration period, Probe probe) {
  std::unique_ptr<Watchdog> watchdog(new Watchdog(period / kProbesPerPeriod, std::move(probe)));
  A8A_ASSIGN_OR_RETURN(watchdog->thread_, StartThread("a8a-watchdog", [self = watchdog.get()] { self->Run(); }));
  return watchdog;
}

Watchdog::Watchdog(absl::Duration interval, Probe probe) : interval_(interval), probe_(std::move(probe)) {}

Watchdog::~Watchdog() {
  {
    const MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::Run() {
  do {
    Feed();
  } while (Pause());
}

void Watchdog::Feed() {
  const absl::Status status = probe_(interval_);
  if (status.ok()) ServiceManager::Notify("WATCHDOG=1");
  if (status == last_) return;
  last_ = status;
  LogEvent(status.ok() ? LogLevel::kInfo : LogLevel::kError, status.ok() ? "self_probe_works" : "self_probe_failed",
           {{"reason", std::string(status.message())}});
}

bool Watchdog::Pause() {
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(interval_);
  const MutexLock lock(&mutex_);
  while (!stopping_ && changed_.WaitUntil(&mutex_, deadline)) {
  }
  return !stopping_;
}

}  // namespace a8a::daemon
