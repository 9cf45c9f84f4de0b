// What whoever serves a socket tells of its work, for the metrics. Called on the serving thread; unset members are not
// called.
#ifndef A8A_DAEMON_SOCKET_OBSERVER_H_
#define A8A_DAEMON_SOCKET_OBSERVER_H_

#include <functional>

#include "absl/time/time.h"

namespace a8a::daemon {

struct SocketObserver {
  std::function<void(absl::Duration)> on_turn = nullptr;  // as EpollThread::Handlers::on_turn
  std::function<void()> on_refused = nullptr;             // a connection, because of a limit or of who it is
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SOCKET_OBSERVER_H_
