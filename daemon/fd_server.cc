#include "daemon/fd_server.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "daemon/access.h"
#include "daemon/failpoint.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

constexpr std::uint64_t kListenerTag = ~std::uint64_t{0} - 1;
// Connections taken before the thread looks at anything else.
constexpr int kBatchConnections = 64;
// All uids together. A client needs one for a moment.
constexpr std::size_t kConnectionMax = 4096;
// Whatever connection_max_per_uid allows: no uid keeps the others, or the daemon's look at itself, out.
constexpr int kConnectionMaxPerUid = kConnectionMax / 4;
// More than the kernel queues for a socket by default (net.unix.max_dgram_qlen is 10, or 512).
constexpr int kUnreadMessagesMax = 1024;
constexpr absl::Duration kIdleTimeout = absl::Milliseconds(kFdIdleTimeoutMs);
constexpr absl::Duration kSweepInterval = absl::Milliseconds(500);

FdReply MakeReply(const absl::Status& status, std::int64_t size_bytes) {
  FdReply reply = {
      .magic = kFdMagic, .code = static_cast<std::int32_t>(status.code()), .size_bytes = size_bytes, .message = {}};
  status.message().copy(reply.message, kFdMessageBytes - 1);  // the rest stays zero
  return reply;
}

// Sends a reply, with descriptor `fd` unless that is negative. Returns false if there was no room for it.
bool SendReply(int socket, FdReply reply, int fd) {
  iovec part = {.iov_base = &reply, .iov_len = sizeof(reply)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
  }
  return A8A_FAILPOINT("fd_server.sendmsg", ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL)) ==
         static_cast<ssize_t>(sizeof(reply));
}

bool SendError(int socket, const absl::Status& status) {
  return SendReply(socket, MakeReply(status, /*size_bytes=*/0), /*fd=*/-1);
}

// The last message of a connection. What the client has sent is read first: closing a unix socket with unread messages
// resets the connection, and the client would see that instead of the reply.
void SendLastError(int socket, const absl::Status& status) {
  static_cast<void>(A8A_FAILPOINT("fd_server.shutdown", ::shutdown(socket, SHUT_RD)));
  char ignored = 0;
  for (int i = 0; i < kUnreadMessagesMax; ++i) {
    if (A8A_FAILPOINT("fd_server.recv", ::recv(socket, &ignored, sizeof(ignored), MSG_DONTWAIT)) <= 0) break;
  }
  SendError(socket, status);
}

struct Received {
  ssize_t count = -1;  // 0: end of file; negative: nothing, see errno
  int flags = 0;
  FdRequest request = {};
  UniqueFd descriptor;
};

UniqueFd DescriptorOf(msghdr* message) {
  const cmsghdr* const header = CMSG_FIRSTHDR(message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return UniqueFd();
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return UniqueFd(fd);
}

// With room for one descriptor, or for none: the kernel then drops descriptors that come with a message, and says so by
// MSG_CTRUNC, before they take a number in this process.
Received Receive(int socket, bool take_descriptor) {
  Received received;
  iovec part = {.iov_base = &received.request, .iov_len = sizeof(received.request)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (take_descriptor) {
    message.msg_control = control;
    // Not all of it, which by its alignment has room for two.
    message.msg_controllen = CMSG_LEN(sizeof(int));
  }
  received.count = A8A_FAILPOINT("fd_server.recvmsg", ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
  received.flags = message.msg_flags;
  if (received.count >= 0) received.descriptor = DescriptorOf(&message);
  return received;
}

bool CarriesDescriptor(FdRequestKind kind) {
  return kind == FdRequestKind::kHandBackBuffer || kind == FdRequestKind::kHandBackControl;
}

absl::Status CheckRequest(const Received& received) {
  if ((received.flags & MSG_CTRUNC) != 0) return absl::InvalidArgumentError("this descriptor is not taken here");
  if ((received.flags & MSG_TRUNC) != 0 || received.count != static_cast<ssize_t>(sizeof(FdRequest))) {
    return absl::InvalidArgumentError(absl::StrCat("message of ", (received.flags & MSG_TRUNC) != 0 ? "over " : "",
                                                   received.count, " bytes; a request has ", sizeof(FdRequest)));
  }
  if (received.request.magic != kFdMagic || received.request.kind > FdRequestKind::kHandBackDone) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not a request: magic ", received.request.magic, ", kind ", static_cast<std::uint32_t>(received.request.kind),
        "; must be ", kFdMagic, " and at most ", static_cast<std::uint32_t>(FdRequestKind::kHandBackDone)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FdServer>> FdServer::Start(UniqueFd listener, const Settings* settings, Core* core,
                                                          UidCounter* descriptors, SocketObserver observer) {
  std::unique_ptr<FdServer> server(new FdServer(std::move(listener), settings, core, descriptors, std::move(observer)));
  A8A_ASSIGN_OR_RETURN(server->thread_, EpollThread::Create());
  A8A_RETURN_IF_ERROR(server->thread_->Add(server->acceptor_.fd(), kListenerTag));
  const auto on_readable = [self = server.get()](std::uint64_t tag) {
    if (tag == kListenerTag) return self->AcceptPending();
    const auto connection = self->connections_.find(static_cast<int>(tag));
    if (connection != self->connections_.end()) self->Serve(&connection->second);
  };
  A8A_RETURN_IF_ERROR(server->thread_->Start("a8a-fd", {.on_readable = on_readable,
                                                        .on_tick =
                                                            [self = server.get()] {
                                                              self->CloseSilent();
                                                              self->GoOn();
                                                            },
                                                        .tick = kSweepInterval,
                                                        .on_turn = server->observer_.on_turn}));
  return server;
}

FdServer::FdServer(UniqueFd listener, const Settings* settings, Core* core, UidCounter* descriptors,
                   SocketObserver observer)
    : settings_(settings),
      core_(core),
      descriptors_(descriptors),
      observer_(std::move(observer)),
      acceptor_(std::move(listener)) {}

void FdServer::AcceptPending() {
  for (int i = 0; i < kBatchConnections; ++i) {
    UniqueFd socket = acceptor_.Accept();
    if (!socket.valid()) return;
    Admit(std::move(socket));
  }
}

void FdServer::Admit(UniqueFd socket) {
  const absl::StatusOr<Peer> peer = ReadPeer(socket.get());
  if (!peer.ok()) return;
  const Identity& identity = peer->identity;
  if (const absl::Status status = CheckMayStay(*peer); !status.ok()) {
    if (observer_.on_refused) observer_.on_refused();
    throttle_.Log(LogLevel::kWarning, "fd_connection_refused",
                  {{"uid", absl::StrCat(identity.uid)},
                   {"pid", absl::StrCat(identity.pid)},
                   {"reason", std::string(status.message())}});
    SendLastError(socket.get(), status);
    return;
  }
  const int fd = socket.get();
  if (!thread_->Add(fd, static_cast<std::uint64_t>(fd)).ok()) return;
  connections_[fd] = {.socket = std::move(socket),
                      .identity = identity,
                      .deadline = absl::Now() + kIdleTimeout,
                      .descriptor = descriptors_->Take(identity.uid, 1),
                      .counted = !IsAdministrator(*peer, *settings_->current())};
}

absl::Status FdServer::CheckMayStay(const Peer& peer) const {
  const std::shared_ptr<const Options> options = settings_->current();
  A8A_RETURN_IF_ERROR(CheckMayConnect(peer, *options));
  const std::uint32_t uid = peer.identity.uid;
  const int limit = std::min(options->connection_max_per_uid, kConnectionMaxPerUid);
  if (CountOfUid(uid) >= limit || connections_.size() >= kConnectionMax) {
    return absl::ResourceExhaustedError(absl::StrCat("uid ", uid, " has ", CountOfUid(uid), " connections (limit ",
                                                     limit, "), all uids ", connections_.size(), " (limit ",
                                                     kConnectionMax, ")"));
  }
  return core_->CheckDescriptors(uid, 1);
}

int FdServer::CountOfUid(std::uint32_t uid) const {
  return static_cast<int>(std::count_if(connections_.begin(), connections_.end(), [uid](const auto& connection) {
    return connection.second.identity.uid == uid;
  }));
}

void FdServer::Serve(FdConnection* connection) {
  // The end of a connection counts as one request, too: connecting for each costs more than a request does.
  const int rate_max = settings_->current()->request_rate_max_per_uid;
  if (connection->counted && !requests_.Take(connection->identity.uid, rate_max, absl::Now()).ok()) {
    return Postpone(connection);
  }
  // Closing the descriptor takes it out of the epoll set.
  if (ServeOne(connection) == Next::kClose) connections_.erase(connection->socket.get());
}

FdServer::Next FdServer::ServeOne(FdConnection* connection) {
  Received received = Receive(connection->socket.get(), TakesDescriptor(*connection));
  if (received.count < 0) return errno == EAGAIN || errno == EINTR ? Next::kGoOn : Next::kClose;
  if (received.count == 0 && (received.flags & MSG_CTRUNC) == 0) return Next::kClose;
  if (const absl::Status status = CheckRequest(received); !status.ok()) {
    throttle_.Log(LogLevel::kWarning, "fd_request_malformed",
                  {{"uid", absl::StrCat(connection->identity.uid)},
                   {"pid", absl::StrCat(connection->identity.pid)},
                   {"reason", std::string(status.message())}});
    SendLastError(connection->socket.get(), status);
    if (received.descriptor.valid()) foreign_.Close(std::move(received.descriptor));
    return Next::kClose;
  }
  connection->deadline = absl::Now() + kIdleTimeout;
  if (received.request.kind == FdRequestKind::kRedeem) return Redeem(connection, received.request);
  return TakeBack(connection, received.request, std::move(received.descriptor));
}

bool FdServer::TakesDescriptor(const FdConnection& connection) const {
  FdRequest request = {};
  const ssize_t count = A8A_FAILPOINT(
      "fd_server.peek", ::recv(connection.socket.get(), &request, sizeof(request), MSG_PEEK | MSG_DONTWAIT));
  return count == static_cast<ssize_t>(sizeof(request)) && request.magic == kFdMagic &&
         CarriesDescriptor(request.kind) && foreign_.CanTake() &&
         core_->HandsBack(connection.identity, request.session_id);
}

FdServer::Next FdServer::TakeBack(FdConnection* connection, const FdRequest& request, UniqueFd descriptor) {
  FdHandBack object = {};
  std::memcpy(&object, request.argument, sizeof(object));
  absl::Status status;
  if (request.kind == FdRequestKind::kHandBackDone) {
    status = core_->HandBackDone(connection->identity, request.session_id);
  } else if (!descriptor.valid()) {
    status = absl::InvalidArgumentError("a hand-back without a descriptor");
  } else if (request.kind == FdRequestKind::kHandBackBuffer) {
    status = core_->HandBackBuffer(connection->identity, request.session_id, object.id, object.generation, &descriptor);
  } else {
    status = core_->HandBackControl(connection->identity, request.session_id, object.id, &descriptor);
  }
  // What was not needed, because it was kept or handed back by another rank, is the client's word like anything else.
  if (descriptor.valid()) foreign_.Close(std::move(descriptor));
  if (!status.ok()) {
    throttle_.Log(LogLevel::kWarning, "hand_back_refused",
                  {{"session", absl::StrCat(request.session_id)},
                   {"uid", absl::StrCat(connection->identity.uid)},
                   {"pid", absl::StrCat(connection->identity.pid)},
                   {"reason", std::string(status.message())}});
  }
  return SendReply(connection->socket.get(), MakeReply(status, /*size_bytes=*/0), /*fd=*/-1) ? Next::kGoOn
                                                                                             : Next::kClose;
}

FdServer::Next FdServer::Redeem(FdConnection* connection, const FdRequest& request) {
  const absl::StatusOr<Core::Redeemed> redeemed = core_->RedeemTicket(
      connection->identity, request.session_id, absl::Span<const std::uint8_t>(request.argument, kTicketBytes));
  bool sent = false;
  if (redeemed.ok()) {
    sent = SendReply(connection->socket.get(), MakeReply(absl::OkStatus(), redeemed->size_bytes), redeemed->fd.get());
  } else {
    throttle_.Log(LogLevel::kWarning, "ticket_refused",
                  {{"session", absl::StrCat(request.session_id)},
                   {"uid", absl::StrCat(connection->identity.uid)},
                   {"pid", absl::StrCat(connection->identity.pid)},
                   {"reason", std::string(redeemed.status().message())}});
    sent = SendError(connection->socket.get(), redeemed.status());
  }
  return sent ? Next::kGoOn : Next::kClose;
}

// Not refused: whoever waits for its answers is slowed down to the rate, and a flood costs nothing but its memory.
void FdServer::Postpone(FdConnection* connection) {
  thread_->Remove(connection->socket.get());
  connection->postponed = true;
}

void FdServer::GoOn() {
  for (auto entry = connections_.begin(); entry != connections_.end();) {
    FdConnection& connection = entry->second;
    if (std::exchange(connection.postponed, false)) {
      connection.deadline = absl::Now() + kIdleTimeout;
      if (!thread_->Add(entry->first, static_cast<std::uint64_t>(entry->first)).ok()) {
        entry = connections_.erase(entry);
        continue;
      }
    }
    ++entry;
  }
}

void FdServer::CloseSilent() {
  std::erase_if(connections_, [now = absl::Now()](const auto& entry) {
    return !entry.second.postponed && now >= entry.second.deadline;
  });
}

}  // namespace a8a::daemon
