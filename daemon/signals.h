// The signals that the daemon answers to, taken by waiting for them and never in a handler.
#ifndef A8A_DAEMON_SIGNALS_H_
#define A8A_DAEMON_SIGNALS_H_

#include <csignal>

#include "absl/time/time.h"

namespace a8a::daemon {

enum class SignalKind {
  kNone,      // the time is over
  kStop,      // SIGTERM, SIGINT
  kReload,    // SIGHUP
  kHandOver,  // SIGUSR2
};

class Signals {
 public:
  // Blocks the signals in this thread and all that it makes from now on, so that only Wait takes them. Ignores SIGPIPE:
  // a log reader that has gone must not end the daemon.
  Signals();

  // Waits for the next signal. One thread at a time.
  [[nodiscard]] SignalKind Wait(absl::Duration timeout) const;

 private:
  sigset_t set_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SIGNALS_H_
