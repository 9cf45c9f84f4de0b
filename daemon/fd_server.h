// Serves fd.sock, where a ticket is exchanged for a descriptor (proto/fd_protocol.h), on a thread of its own.
//
// No client can hold it up: connections are limited in number, per uid and in all, and in silence; messages of the
// wrong size or with descriptors end the connection; a reply that a slow reader leaves no room for does too.
#ifndef A8A_DAEMON_FD_SERVER_H_
#define A8A_DAEMON_FD_SERVER_H_

#include <cstdint>
#include <map>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/acceptor.h"
#include "daemon/core/core.h"
#include "daemon/epoll_thread.h"
#include "daemon/foreign_fd.h"
#include "daemon/log.h"
#include "daemon/request_quota.h"
#include "daemon/settings.h"
#include "daemon/socket_observer.h"
#include "daemon/uid_counter.h"
#include "kernels/base/unique_fd.h"
#include "proto/fd_protocol.h"

namespace a8a::daemon {

class FdServer {
 public:
  // All but the listener outlive the server. `descriptors` counts those of connections, by uid.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<FdServer>> Start(UniqueFd listener, const Settings* settings,
                                                                       Core* core, UidCounter* descriptors,
                                                                       SocketObserver observer = {});

  // Ends the thread and closes the listener and all connections.
  ~FdServer() = default;
  FdServer(const FdServer&) = delete;
  FdServer& operator=(const FdServer&) = delete;

 private:
  struct FdConnection {
    UniqueFd socket;
    Identity identity;
    absl::Time deadline;
    UidCounter::Hold descriptor;
    bool counted = true;     // its requests; those of administrators are not
    bool postponed = false;  // its uid has used up its rate: it is looked at again with the next tick
  };
  enum class Next { kGoOn, kClose };

  FdServer(UniqueFd listener, const Settings* settings, Core* core, UidCounter* descriptors, SocketObserver observer);

  void AcceptPending();
  void Admit(UniqueFd socket);
  [[nodiscard]] absl::Status CheckMayStay(const Peer& peer) const;
  [[nodiscard]] int CountOfUid(std::uint32_t uid) const;
  void Serve(FdConnection* connection);
  [[nodiscard]] Next ServeOne(FdConnection* connection);
  [[nodiscard]] Next Redeem(FdConnection* connection, const FdRequest& request);
  // Whether the next message is one whose descriptor is to be taken.
  [[nodiscard]] bool TakesDescriptor(const FdConnection& connection) const;
  [[nodiscard]] Next TakeBack(FdConnection* connection, const FdRequest& request, UniqueFd descriptor);
  void Postpone(FdConnection* connection);
  void GoOn();
  void CloseSilent();

  const Settings* const settings_;
  Core* const core_;
  UidCounter* const descriptors_;
  const SocketObserver observer_;
  // Used by the thread only.
  Acceptor acceptor_;
  std::map<int, FdConnection> connections_;  // by descriptor
  RequestQuota requests_;                    // apart from those on a8a.sock, at the same rate
  ForeignFdCloser foreign_;
  LogThrottle throttle_;
  // Last, so that the thread ends first.
  std::unique_ptr<EpollThread> thread_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_FD_SERVER_H_
