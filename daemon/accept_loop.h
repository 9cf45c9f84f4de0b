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
#include "daemon/acceptor.h"
#include "daemon/connection_registry.h"
#include "daemon/epoll_thread.h"
#include "daemon/log.h"
#include "daemon/settings.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

class AcceptLoop {
 public:
  // Takes ownership of a connected, non-blocking socket.
  using HandOver = std::function<void(int fd)>;

  // `settings` and `registry` outlive the loop.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<AcceptLoop>> Start(UniqueFd listener, const Settings* settings,
                                                                         ConnectionRegistry* registry,
                                                                         HandOver hand_over);

  // Ends the thread and closes the listener; no connection is handed over afterwards.
  ~AcceptLoop() = default;
  AcceptLoop(const AcceptLoop&) = delete;
  AcceptLoop& operator=(const AcceptLoop&) = delete;

 private:
  AcceptLoop(UniqueFd listener, const Settings* settings, ConnectionRegistry* registry, HandOver hand_over);

  void AcceptPending();
  void Admit(UniqueFd socket);
  // Returns the number that gRPC is to get.
  [[nodiscard]] absl::StatusOr<UniqueFd> Register(const UniqueFd& socket, const Identity& identity);
  [[nodiscard]] absl::Status CheckLimits(const Identity& identity);
  [[nodiscard]] UniqueFd Renumber(const UniqueFd& socket);

  const Settings* const settings_;
  ConnectionRegistry* const registry_;
  const HandOver hand_over_;
  // Used by the thread only.
  Acceptor acceptor_;
  int number_next_;
  LogThrottle throttle_;
  // Last, so that the thread ends first.
  std::unique_ptr<EpollThread> thread_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_ACCEPT_LOOP_H_
