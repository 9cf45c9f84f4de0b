// What a client does with a daemon from its first connection to its goodbye, step by step, and what a daemon holds: for
// tests in which any of it may fail.
#ifndef A8A_TESTS_INTEGRATION_DAEMON_WHOLE_LIFE_H_
#define A8A_TESTS_INTEGRATION_DAEMON_WHOLE_LIFE_H_

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>

#include "tests/integration/daemon/daemon_client.h"
#include "tests/support/daemon_process.h"

namespace a8a::testing {

// The step that failed, and how: a call's status, or UNAVAILABLE where fd.sock was closed without a reply.
struct Outcome {
  std::string step;  // empty: none failed
  grpc::Status status;
};

// Connects, attaches, registers a buffer, redeems its ticket, releases it, joins a group of one, registers a window,
// redeems that, leaves, sends what is no request to fd.sock, reloads the config file, and says goodbye, also after a
// step that failed. `device` is what buffer and group are on.
[[nodiscard]] Outcome LiveWholeLife(const DaemonProcess& daemon, const std::string& device);

// What a process holds and could leak, by kind: sockets, memfds and other files, mappings of memfds, sessions, groups,
// leases and their bytes. gRPC's own event descriptors are left out, since it keeps them for later; so are process
// handles, which go with the next sweep of closed connections (CountPidfds).
[[nodiscard]] std::map<std::string, long> Footprint(const DaemonProcess& daemon, const DaemonClient& client);
[[nodiscard]] int CountPidfds(pid_t pid);

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_DAEMON_WHOLE_LIFE_H_
