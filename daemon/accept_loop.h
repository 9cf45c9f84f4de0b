// Accepts connections on a8a.sock and hands them to gRPC, on a thread of its own.
//
// gRPC's own listener would not do: it tells nobody who connected, has no limit per uid, and stays deaf for good after
// it ran out of descriptors once (gRPC 1.51).
#ifndef A8A_DAEMON_ACCEPT_LOOP_H_
#define A8A_DAEMON_ACCEPT_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/acceptor.h"
#include "daemon/connection_registry.h"
#include "daemon/core/core.h"
#include "daemon/epoll_thread.h"
#include "daemon/log.h"
#include "daemon/settings.h"
#include "daemon/socket_observer.h"
#include "daemon/uid_counter.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

class AcceptLoop {
 public:
  // Takes ownership of a connected, non-blocking socket.
  using HandOver = std::function<void(int fd)>;

  // All of it outlives the loop.
  struct Deps {
    const Settings* settings = nullptr;
    const Core* core = nullptr;
    ConnectionRegistry* registry = nullptr;
    UidCounter* descriptors = nullptr;  // of connections, by uid
    SocketObserver observer = {};
  };
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AcceptLoop>> Start(UniqueFd listener, const Deps& deps,
                                                                         HandOver hand_over);

  // Ends the thread and closes the listener; no connection is handed over afterwards.
  ~AcceptLoop() = default;
  AcceptLoop(const AcceptLoop&) = delete;
  AcceptLoop& operator=(const AcceptLoop&) = delete;

 private:
  AcceptLoop(UniqueFd listener, const Deps& deps, HandOver hand_over);

  void AcceptPending();
  void Admit(UniqueFd socket);
  // Returns the number that gRPC is to get.
  [[nodiscard]] absl::StatusOr<UniqueFd> Register(const UniqueFd& socket, Peer peer);
  [[nodiscard]] absl::Status CheckLimits(const Identity& identity);
  void SweepIfDue();
  [[nodiscard]] UniqueFd Renumber(const UniqueFd& socket);

  const Deps deps_;
  const HandOver hand_over_;
  // Used by the thread only.
  Acceptor acceptor_;
  int number_next_;
  absl::Time sweep_next_ = absl::InfinitePast();
  LogThrottle throttle_;
  // Last, so that the thread ends first.
  std::unique_ptr<EpollThread> thread_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_ACCEPT_LOOP_H_
