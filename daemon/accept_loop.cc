#include "daemon/accept_loop.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/failpoint.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

constexpr std::uint64_t kListenerTag = 0;
// Connections taken before the thread looks at anything else.
constexpr int kBatchConnections = 64;
// All uids together: some 50 KiB each in gRPC.
constexpr int kConnectionMax = 4096;
// How soon closed connections give their process handles back when nobody connects.
constexpr absl::Duration kSweepInterval = absl::Milliseconds(250);
// Between two sweeps for newcomers above a limit. A sweep asks the kernel for every connection, a millisecond for some
// thousands: done for each newcomer of a flood, it would keep those of other uids waiting in the queue.
constexpr absl::Duration kSweepPause = absl::Milliseconds(20);
// A connection's socket and process handle.
constexpr int kDescriptorsPerConnection = 2;

// Numbers for connections: from well above those that leases take first, a range wide enough that a number comes again
// only after thousands of connections. The kernel's table of descriptors grows with the highest number (8 bytes each).
constexpr int kNumberFirst = 4096;
constexpr int kNumberCount = 32768;

struct NumberRange {
  int first;
  int end;
};

// With a low RLIMIT_NOFILE, the upper half of what there is.
NumberRange ConnectionNumbers() {
  rlimit limit = {};
  // A failure leaves no range, and connections then take the lowest number that is free.
  static_cast<void>(A8A_FAILPOINT("accept_loop.getrlimit", ::getrlimit(RLIMIT_NOFILE, &limit)));
  const int end = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, kNumberFirst + kNumberCount));
  return {.first = std::min(kNumberFirst, end / 2), .end = end};
}

}  // namespace

absl::StatusOr<std::unique_ptr<AcceptLoop>> AcceptLoop::Start(UniqueFd listener, const Deps& deps, HandOver hand_over) {
  std::unique_ptr<AcceptLoop> loop(new AcceptLoop(std::move(listener), deps, std::move(hand_over)));
  A8A_ASSIGN_OR_RETURN(loop->thread_, EpollThread::Create());
  A8A_RETURN_IF_ERROR(loop->thread_->Add(loop->acceptor_.fd(), kListenerTag));
  A8A_RETURN_IF_ERROR(
      loop->thread_->Start("a8a-accept", {.on_readable = [self = loop.get()](std::uint64_t) { self->AcceptPending(); },
                                          .on_tick = [registry = deps.registry] { registry->Sweep(); },
                                          .tick = kSweepInterval,
                                          .on_turn = deps.observer.on_turn}));
  return loop;
}

AcceptLoop::AcceptLoop(UniqueFd listener, const Deps& deps, HandOver hand_over)
    : deps_(deps),
      hand_over_(std::move(hand_over)),
      acceptor_(std::move(listener)),
      number_next_(ConnectionNumbers().first) {}

void AcceptLoop::AcceptPending() {
  for (int i = 0; i < kBatchConnections; ++i) {
    UniqueFd socket = acceptor_.Accept();
    if (!socket.valid()) return;
    Admit(std::move(socket));
  }
}

void AcceptLoop::Admit(UniqueFd socket) {
  const absl::StatusOr<Peer> peer = ReadPeer(socket.get());
  absl::StatusOr<UniqueFd> numbered = peer.ok() ? Register(socket, *peer) : peer.status();
  if (!numbered.ok()) {
    if (deps_.observer.on_refused) deps_.observer.on_refused();
    throttle_.Log(LogLevel::kWarning, "connection_refused",
                  {{"uid", peer.ok() ? absl::StrCat(peer->identity.uid) : "unknown"},
                   {"pid", peer.ok() ? absl::StrCat(peer->identity.pid) : "unknown"},
                   {"reason", std::string(numbered.status().message())}});
    return;
  }
  // gRPC keeps and closes the new number; the old one is closed first, so that it alone holds the connection open.
  socket.Reset();
  hand_over_(numbered->Release());
}

absl::StatusOr<UniqueFd> AcceptLoop::Register(const UniqueFd& socket, Peer peer) {
  A8A_RETURN_IF_ERROR(CheckMayConnect(peer, *deps_.settings->current()));
  A8A_RETURN_IF_ERROR(CheckLimits(peer.identity));
  auto connection = std::make_shared<Connection>();
  connection->pidfd = PeerPidfd(socket.get(), peer.identity);
  connection->descriptors = deps_.descriptors->Take(peer.identity.uid, kDescriptorsPerConnection);
  connection->peer = std::move(peer);
  // Without a handle, because the kernel has none to give, a process cannot attach but still look at health and stats.
  if (absl::IsResourceExhausted(connection->pidfd.status()) || absl::IsUnavailable(connection->pidfd.status())) {
    return connection->pidfd.status();
  }
  UniqueFd numbered = Renumber(socket);
  if (!numbered.valid()) return absl::ErrnoToStatus(errno, "no descriptor for the connection");
  A8A_RETURN_IF_ERROR(deps_.registry->Add(numbered.get(), std::move(connection)));
  return numbered;
}

absl::Status AcceptLoop::CheckLimits(const Identity& identity) {
  // The daemon's own look at itself (self_probe.h): others of its uid must not make it seem dead.
  if (identity.pid == ::getpid()) return absl::OkStatus();
  const int limit = deps_.settings->current()->connection_max_per_uid;
  const ConnectionRegistry& registry = *deps_.registry;
  if (registry.CountOfUid(identity.uid) >= limit || registry.Count() >= kConnectionMax) SweepIfDue();
  if (registry.CountOfUid(identity.uid) >= limit) {
    return absl::ResourceExhaustedError(
        absl::StrCat("uid ", identity.uid, " has ", limit, " connections (the limit); see connection_max_per_uid"));
  }
  if (registry.Count() >= kConnectionMax) {
    return absl::ResourceExhaustedError(absl::StrCat("the daemon has ", kConnectionMax, " connections (the limit)"));
  }
  absl::Status status = deps_.core->CheckDescriptors(identity.uid, kDescriptorsPerConnection);
  if (status.ok()) return status;
  SweepIfDue();
  return deps_.core->CheckDescriptors(identity.uid, kDescriptorsPerConnection);
}

void AcceptLoop::SweepIfDue() {
  const absl::Time now = absl::Now();
  if (now < sweep_next_) return;
  deps_.registry->Sweep();
  sweep_next_ = now + kSweepPause;
}

UniqueFd AcceptLoop::Renumber(const UniqueFd& socket) {
  const NumberRange range = ConnectionNumbers();
  int number = -1;
  if (number_next_ < range.end) {
    number = A8A_FAILPOINT("accept_loop.dup", ::fcntl(socket.get(), F_DUPFD_CLOEXEC, number_next_));
  }
  if (number < 0 || number >= range.end) {
    if (number >= 0) ::close(number);
    number = A8A_FAILPOINT("accept_loop.dup_from_first", ::fcntl(socket.get(), F_DUPFD_CLOEXEC, range.first));
  }
  if (number >= 0) number_next_ = number + 1;
  return UniqueFd(number);
}

}  // namespace a8a::daemon
