#include "daemon/self_probe.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel_posix.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/failpoint.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/unique_fd.h"
#include "proto/fd_protocol.h"

namespace a8a::daemon {
namespace {

absl::Status NoAnswer(absl::string_view who) {
  return absl::DeadlineExceededError(absl::StrCat(who, " does not answer"));
}

absl::Duration Left(absl::Time deadline) { return std::max(deadline - absl::Now(), absl::Milliseconds(1)); }

// Waits for room in the listener's queue. Errors: RESOURCE_EXHAUSTED without a descriptor for it.
absl::StatusOr<UniqueFd> Connect(const std::string& path, int type, absl::Time deadline) {
  UniqueFd socket(A8A_FAILPOINT("self_probe.socket", ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)));
  if (!socket.valid()) return absl::ResourceExhaustedError(absl::StrCat("no socket: ", std::strerror(errno)));
  const timeval timeout = absl::ToTimeval(Left(deadline));
  // Without it the connection may take longer, and that is all.
  static_cast<void>(A8A_FAILPOINT("self_probe.setsockopt",
                                  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout))));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (A8A_FAILPOINT("self_probe.connect",
                    ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address))) == 0) {
    return socket;
  }
  if (errno == EAGAIN) return NoAnswer(path);
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot connect to ", path));
}

// Reads until the other side has closed, whatever it says before.
absl::Status ReadToTheEnd(int socket, const std::string& path, absl::Time deadline) {
  while (absl::Now() < deadline) {
    pollfd entry = {.fd = socket, .events = POLLIN, .revents = 0};
    const int timeout_ms = static_cast<int>(absl::ToInt64Milliseconds(Left(deadline)));
    if (A8A_FAILPOINT("self_probe.poll", ::poll(&entry, 1, timeout_ms)) <= 0) continue;
    char text[256];
    const ssize_t count = A8A_FAILPOINT("self_probe.recv", ::recv(socket, text, sizeof(text), MSG_DONTWAIT));
    if (count == 0 || (count < 0 && errno == ECONNRESET)) return absl::OkStatus();
  }
  return NoAnswer(path);
}

// A connection that says at once that nothing will come is closed by whoever serves the socket.
absl::Status CheckSocket(const std::string& path, int type, absl::Time deadline) {
  const absl::StatusOr<UniqueFd> socket = Connect(path, type, deadline);
  // That the daemon is out of descriptors says nothing about its loops.
  if (absl::IsResourceExhausted(socket.status())) return absl::OkStatus();
  if (!socket.ok()) return socket.status();
  // It fails if the other side has closed already.
  static_cast<void>(A8A_FAILPOINT("self_probe.shutdown", ::shutdown(socket->get(), SHUT_WR)));
  return ReadToTheEnd(socket->get(), path, deadline);
}

}  // namespace

absl::Status SelfProbe::Run(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  A8A_RETURN_IF_ERROR(CheckFdSocket(deadline));
  A8A_RETURN_IF_ERROR(CheckGrpcSocket(deadline));
  A8A_RETURN_IF_ERROR(CheckCall(deadline));
  return CheckEnds(deadline);
}

absl::Status SelfProbe::CheckFdSocket(absl::Time deadline) const {
  return CheckSocket(absl::StrCat(runtime_dir_, "/", kFdSocketName), SOCK_SEQPACKET, deadline);
}

absl::Status SelfProbe::CheckGrpcSocket(absl::Time deadline) const {
  return CheckSocket(absl::StrCat(runtime_dir_, "/", kGrpcSocketName), SOCK_STREAM, deadline);
}

absl::Status SelfProbe::CheckLoops(absl::Time deadline) const {
  A8A_RETURN_IF_ERROR(CheckGrpcSocket(deadline));
  return CheckEnds(deadline);
}

absl::Status SelfProbe::CheckCall(absl::Time deadline) {
  const std::string path = absl::StrCat(runtime_dir_, "/", kGrpcSocketName);
  if (stub_ == nullptr) {
    absl::StatusOr<UniqueFd> socket = Connect(path, SOCK_STREAM, deadline);
    if (!socket.ok()) return socket.status();
    // gRPC owns the descriptor from here on.
    stub_ =
        v1::BufferService::NewStub(grpc::CreateInsecureChannelFromFd(absl::StrCat("unix:", path), socket->Release()));
  }
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(deadline));
  v1::ListBuffersRequest request;
  request.set_page_size(1);
  v1::ListBuffersResponse response;
  const grpc::Status status = stub_->ListBuffers(&context, request, &response);
  if (status.ok()) return absl::OkStatus();
  stub_ = nullptr;
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return NoAnswer("ListBuffers");
  return absl::UnavailableError(absl::StrCat("ListBuffers: ", status.error_message()));
}

absl::Status SelfProbe::CheckEnds(absl::Time deadline) const {
  // Shared: the work may be done when nobody waits for it any more.
  const auto done = std::make_shared<std::promise<void>>();
  deps_.timers->After(absl::ZeroDuration(), [ends = deps_.ends, done] {
    ends->SubmitAlways({.uid = Executor::kDaemon}, [done] { done->set_value(); });
  });
  const std::future_status status = done->get_future().wait_for(absl::ToChronoNanoseconds(Left(deadline)));
  return status == std::future_status::ready ? absl::OkStatus() : NoAnswer("the executor of ends");
}

}  // namespace a8a::daemon
