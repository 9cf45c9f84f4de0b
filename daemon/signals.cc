#include "daemon/signals.h"

#include <ctime>

#include "daemon/failpoint.h"

namespace a8a::daemon {

Signals::Signals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigemptyset(&set_);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2}) sigaddset(&set_, signal);
  ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
}

SignalKind Signals::Wait(absl::Duration timeout) const {
  const timespec limit = absl::ToTimespec(timeout);
  const int signal = timeout == absl::InfiniteDuration()
                         ? A8A_FAILPOINT("signals.sigwaitinfo", ::sigwaitinfo(&set_, nullptr))
                         : A8A_FAILPOINT("signals.sigtimedwait", ::sigtimedwait(&set_, nullptr, &limit));
  switch (signal) {
    case SIGTERM:
    case SIGINT:
      return SignalKind::kStop;
    case SIGHUP:
      return SignalKind::kReload;
    case SIGUSR2:
      return SignalKind::kHandOver;
    default:
      return SignalKind::kNone;
  }
}

}  // namespace a8a::daemon
