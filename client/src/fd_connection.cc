#include "client/src/fd_connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/src/unix_socket.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {
namespace {

// The protocol sends one descriptor. There is room for some more, so that what a broken daemon sends is closed here.
constexpr std::size_t kDescriptorsMax = 8;

absl::Status WentAway(int error) {
  return absl::UnavailableError(absl::StrCat("the daemon closed the connection: ", std::strerror(error)));
}

absl::Status Prefixed(const absl::Status& status, absl::string_view what, absl::string_view path) {
  return absl::Status(status.code(),
                      absl::StrCat("cannot fetch the descriptor of ", what, " at ", path, ": ", status.message()));
}

std::vector<UniqueFd> TakeDescriptors(msghdr* message) {
  std::vector<UniqueFd> descriptors;
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      descriptors.emplace_back(fd);
    }
  }
  return descriptors;
}

// The status that an answer says.
absl::Status StatusOf(const FdReply& reply, ssize_t size) {
  if (size != static_cast<ssize_t>(sizeof(FdReply)) || reply.magic != kFdMagic) {
    return absl::InternalError(absl::StrCat("an answer of ", size, " bytes with magic ", reply.magic, "; expected ",
                                            sizeof(FdReply), " and ", kFdMagic));
  }
  if (reply.code != 0) {
    const std::string text(reply.message, strnlen(reply.message, sizeof(reply.message)));
    if (reply.code < 0 || reply.code > static_cast<int>(absl::StatusCode::kUnauthenticated)) {
      return absl::InternalError(absl::StrCat("an answer with the unknown code ", reply.code, ": ", text));
    }
    return absl::Status(static_cast<absl::StatusCode>(reply.code), text);
  }
  return absl::OkStatus();
}

// The descriptor that an answer carries, checked against the protocol.
absl::StatusOr<FdConnection::Redeemed> RedeemedOf(const FdReply& reply, int flags, std::vector<UniqueFd> descriptors) {
  // The kernel drops descriptors for which the process has no number left.
  if (descriptors.empty() && (flags & MSG_CTRUNC) != 0) {
    return absl::ResourceExhaustedError("this process has no file descriptor left (RLIMIT_NOFILE)");
  }
  if (descriptors.size() != 1) {
    return absl::InternalError(absl::StrCat("an answer with ", descriptors.size(), " descriptors; expected 1"));
  }
  return FdConnection::Redeemed{std::move(descriptors.front()), reply.size_bytes};
}

}  // namespace

struct FdConnection::Answer {
  FdReply reply;
  ssize_t size_bytes;
  int flags;
  std::vector<UniqueFd> descriptors;
};

absl::StatusOr<FdConnection> FdConnection::Open(const std::string& runtime_dir, absl::Time deadline) {
  std::string path = absl::StrCat(runtime_dir, "/", kFdSocketName);
  A8A_ASSIGN_OR_RETURN(UniqueFd socket, ConnectUnixSocket(path, SOCK_SEQPACKET, deadline));
  return FdConnection(std::move(socket), std::move(path));
}

absl::StatusOr<FdConnection::Redeemed> FdConnection::Redeem(std::uint64_t session_id, absl::string_view ticket,
                                                            absl::string_view what, absl::Time deadline) {
  if (ticket.size() != kTicketBytes) {
    return absl::InternalError(
        absl::StrCat("the ticket of ", what, " has ", ticket.size(), " bytes; expected ", kTicketBytes));
  }
  FdRequest request = {.magic = kFdMagic, .kind = FdRequestKind::kRedeem, .session_id = session_id, .argument = {}};
  std::memcpy(request.argument, ticket.data(), kTicketBytes);
  if (const absl::Status sent = Send(request, /*fd=*/-1, deadline); !sent.ok()) return Prefixed(sent, what, path_);
  absl::StatusOr<Redeemed> redeemed = ReceiveDescriptor(deadline);
  if (!redeemed.ok()) return Prefixed(redeemed.status(), what, path_);
  return redeemed;
}

absl::Status FdConnection::HandBack(FdRequestKind kind, std::uint64_t session_id, const FdHandBack& object, int fd,
                                    absl::Time deadline) {
  FdRequest request = {.magic = kFdMagic, .kind = kind, .session_id = session_id, .argument = {}};
  std::memcpy(request.argument, &object, sizeof(object));
  A8A_RETURN_IF_ERROR(Send(request, fd, deadline));
  A8A_ASSIGN_OR_RETURN(const Answer answer, Receive(deadline));
  return StatusOf(answer.reply, answer.size_bytes);
}

absl::StatusOr<FdConnection::Redeemed> FdConnection::ReceiveDescriptor(absl::Time deadline) {
  A8A_ASSIGN_OR_RETURN(Answer answer, Receive(deadline));
  A8A_RETURN_IF_ERROR(StatusOf(answer.reply, answer.size_bytes));
  return RedeemedOf(answer.reply, answer.flags, std::move(answer.descriptors));
}

absl::Status FdConnection::Send(const FdRequest& request, int fd, absl::Time deadline) {
  iovec part = {.iov_base = const_cast<FdRequest*>(&request), .iov_len = sizeof(request)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control = {};
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
  }
  while (true) {
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    // A daemon that refuses a connection answers before it closes: the answer is still there to be read.
    if (sent >= 0 || errno == EPIPE) return absl::OkStatus();
    if (errno == EAGAIN) {
      A8A_RETURN_IF_ERROR(WaitForSocket(socket_.get(), POLLOUT, deadline));
    } else if (errno != EINTR) {
      return WentAway(errno);
    }
  }
}

absl::StatusOr<FdConnection::Answer> FdConnection::Receive(absl::Time deadline) {
  while (true) {
    FdReply reply = {};
    iovec part = {.iov_base = &reply, .iov_len = sizeof(reply)};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))> control = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    // MSG_TRUNC: the size is the message's own, also where it was cut.
    const ssize_t received = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT | MSG_TRUNC);
    if (received >= 0) {
      // Also those of an empty message, which is no answer.
      std::vector<UniqueFd> descriptors = TakeDescriptors(&message);
      if (received == 0) return WentAway(ECONNRESET);
      return Answer{reply, received, message.msg_flags, std::move(descriptors)};
    }
    if (errno == EAGAIN) {
      A8A_RETURN_IF_ERROR(WaitForSocket(socket_.get(), POLLIN, deadline));
    } else if (errno != EINTR) {
      return WentAway(errno);
    }
  }
}

}  // namespace a8a::client
