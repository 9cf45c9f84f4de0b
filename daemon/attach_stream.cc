#include "daemon/attach_stream.h"

#include <fcntl.h>

#include <cerrno>
#include <chrono>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_state.h"
#include "daemon/failpoint.h"
#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/proto_convert.h"
#include "daemon/service_manager.h"
#include "daemon/status_convert.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/version.h"
#include "proto/fd_protocol.h"

namespace a8a::daemon {
namespace {

// Events that wait for a slow reader: a session in 256 groups that all end, and its leases revoked, is some hundreds.
constexpr std::size_t kEventQueueMax = 1024;

absl::Status CheckProtocol(std::uint32_t version) {
  if (version == kProtocolVersion) return absl::OkStatus();
  if (version == 0) return absl::InvalidArgumentError("hello: protocol_version is missing");
  return absl::FailedPreconditionError(
      absl::StrCat("hello: protocol_version ", version, "; the daemon speaks ", kProtocolVersion, " only"));
}

absl::StatusOr<UniqueFd> DuplicatePidfd(const Connection& connection) {
  if (!connection.pidfd.ok()) return connection.pidfd.status();
  UniqueFd pidfd(A8A_FAILPOINT("attach_stream.dup", ::fcntl(connection.pidfd->get(), F_DUPFD_CLOEXEC, 0)));
  if (pidfd.valid()) return pidfd;
  return absl::ResourceExhaustedError("the daemon has no descriptor left to watch another process");
}

}  // namespace

// Belongs to gRPC from Start to OnDone and keeps the stream alive meanwhile.
class AttachStream::ReactorImpl final : public AttachStream::Reactor {
 public:
  explicit ReactorImpl(std::shared_ptr<AttachStream> stream) : stream_(std::move(stream)) {}

  void OnReadDone(bool ok) override { stream_->OnReadDone(ok); }
  void OnWriteDone(bool ok) override { stream_->OnWriteDone(ok); }
  void OnCancel() override { stream_->OnCancel(); }
  void OnDone() override {
    stream_->OnDone();
    delete this;
  }

 private:
  const std::shared_ptr<AttachStream> stream_;
};

AttachStream::Reactor* AttachStream::Start(const AttachDeps& deps, CallerResolver::Resolved resolved,
                                           grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<AttachStream>(deps, std::move(resolved), context);
  auto* reactor = new ReactorImpl(stream);
  {
    const MutexLock lock(&stream->mutex_);
    stream->reactor_ = reactor;
  }
  if (stream->resolved_.turn.not_before <= std::chrono::steady_clock::now()) {
    stream->Read();
  } else {
    deps.ends->SubmitAlways(stream->resolved_.turn, [stream] { stream->Read(); });
  }
  return reactor;
}

AttachStream::AttachStream(const AttachDeps& deps, CallerResolver::Resolved resolved,
                           grpc::CallbackServerContext* context)
    : deps_(deps), resolved_(std::move(resolved)), context_(context) {}

void AttachStream::Read() {
  const MutexLock lock(&mutex_);
  if (reactor_ != nullptr) reactor_->StartRead(&incoming_);
}

void AttachStream::OnReadDone(bool ok) {
  if (!ok) {
    // The client closed its side, or the call is over. The session goes on either way.
    FinishWith(absl::OkStatus());
    return;
  }
  v1::AttachRequest request;
  {
    const MutexLock lock(&mutex_);
    request.Swap(&incoming_);
  }
  Handle(request);
}

void AttachStream::Handle(const v1::AttachRequest& request) {
  Phase phase;
  {
    const MutexLock lock(&mutex_);
    phase = phase_;
  }
  const auto message = request.message_case();
  if (phase == Phase::kAwaitsHello) {
    if (message == v1::AttachRequest::kHello) return Hello(request.hello());
    return FinishWith(absl::InvalidArgumentError("the first message of a stream must be hello"));
  }
  switch (message) {
    case v1::AttachRequest::kAcknowledge:
      return Read();
    case v1::AttachRequest::kGoodbye:
      return Goodbye();
    case v1::AttachRequest::kHello:
      return FinishWith(absl::InvalidArgumentError("hello must be the first message of a stream, and only that"));
    case v1::AttachRequest::MESSAGE_NOT_SET:
      break;
  }
  FinishWith(absl::InvalidArgumentError("a message must be one of hello, acknowledge and goodbye"));
}

void AttachStream::Hello(const v1::Hello& hello) {
  const absl::StatusOr<SessionInfo> session = EnterCore(hello);
  if (!session.ok()) return FinishWith(session.status());
  Welcome(*session);
  Read();
}

absl::StatusOr<SessionInfo> AttachStream::EnterCore(const v1::Hello& hello) {
  A8A_RETURN_IF_ERROR(CheckProtocol(hello.protocol_version()));
  if (hello.resume_session_id() == 0) return AttachNew(hello);
  A8A_ASSIGN_OR_RETURN(const SessionInfo session, deps_.core->Resume(resolved_.caller, hello.resume_state_id(),
                                                                     hello.resume_session_id(), shared_from_this()));
  if (const absl::Status watched = WatchResumed(session.session_id); !watched.ok()) {
    deps_.core->StreamClosed(session.session_id, this);
    return watched;
  }
  return session;
}

// A daemon that was restarted may not have found the process by itself.
absl::Status AttachStream::WatchResumed(std::uint64_t session_id) {
  if (deps_.watcher->Watches(session_id)) return absl::OkStatus();
  A8A_ASSIGN_OR_RETURN(UniqueFd pidfd, DuplicatePidfd(*resolved_.connection));
  return deps_.watcher->Watch(session_id, std::move(pidfd));
}

absl::StatusOr<SessionInfo> AttachStream::AttachNew(const v1::Hello& hello) {
  A8A_ASSIGN_OR_RETURN(UniqueFd pidfd, DuplicatePidfd(*resolved_.connection));
  Caller caller = resolved_.caller;
  // A process that ended meanwhile cannot be resumed, whatever is recorded of it.
  caller.identity.start_ticks = ProcessStartTicks(caller.identity.pid);
  A8A_ASSIGN_OR_RETURN(const SessionInfo session, deps_.core->Attach(caller, hello.client_name(), shared_from_this()));
  ServiceManager::Keep(SessionKey(session.session_id), pidfd.get());
  const absl::Status watched = deps_.watcher->Watch(session.session_id, std::move(pidfd));
  if (watched.ok()) return session;
  absl::Status status =
      absl::ResourceExhaustedError(absl::StrCat("the daemon cannot watch another process: ", watched.message()));
  // Now, because the session's end, which is told on this stream too, would be its status otherwise.
  FinishWith(status);
  // A session that nobody watches would never end.
  deps_.ends->SubmitAlways({.uid = resolved_.caller.identity.uid},
                           [core = deps_.core, caller = resolved_.caller, id = session.session_id] {
                             core->Detach(caller, id).IgnoreError();
                           });
  return status;
}

void AttachStream::Welcome(const SessionInfo& session) {
  v1::AttachResponse response;
  v1::Welcome* welcome = response.mutable_welcome();
  welcome->set_session_id(session.session_id);
  welcome->set_state_id(deps_.core->state_id());
  welcome->set_hand_back(session.hands_back);
  welcome->set_daemon_instance_id(deps_.daemon_instance_id);
  welcome->set_daemon_version(kVersion);
  for (const DeviceInfo& device : deps_.core->Devices()) ToProto(device, welcome->add_devices());
  const MutexLock lock(&mutex_);
  phase_ = Phase::kAttached;
  session_id_ = session.session_id;
  welcomed_ = true;
  queue_.push_front(std::move(response));
  Advance();
}

void AttachStream::Goodbye() {
  std::uint64_t session_id = 0;
  {
    const MutexLock lock(&mutex_);
    phase_ = Phase::kLeaving;
    session_id = session_id_;
  }
  deps_.ends->SubmitAlways({.uid = resolved_.caller.identity.uid}, [self = shared_from_this(), session_id] {
    self->FinishWith(self->deps_.core->Detach(self->resolved_.caller, session_id));
  });
}

void AttachStream::Send(SessionEvent event) {
  std::uint64_t ended_session_id = 0;
  {
    const MutexLock lock(&mutex_);
    if (const auto* ended = std::get_if<SessionEndedEvent>(&event)) {
      session_ended_ = true;
      if (!finish_.has_value()) finish_ = ended->status;
      ended_session_id = session_id_;
    } else if (queue_.size() < kEventQueueMax) {
      ToProto(event, &queue_.emplace_back());
    } else if (context_ != nullptr) {
      context_->TryCancel();
    }
    Advance();
  }
  if (ended_session_id != 0) deps_.watcher->Forget(ended_session_id);
}

void AttachStream::OnWriteDone(bool ok) {
  const MutexLock lock(&mutex_);
  writing_ = false;
  broken_ = broken_ || !ok;
  Advance();
}

void AttachStream::OnCancel() {
  {
    const MutexLock lock(&mutex_);
    broken_ = true;
  }
  FinishWith(absl::CancelledError("the stream broke"));
}

void AttachStream::OnDone() {
  std::uint64_t session_id = 0;
  {
    const MutexLock lock(&mutex_);
    reactor_ = nullptr;
    context_ = nullptr;
    queue_.clear();
    if (!session_ended_) session_id = session_id_;
  }
  if (session_id == 0) return;
  deps_.core->StreamClosed(session_id, this);
  // The kernel closes the streams of a process that ends well before it has taken the process down.
  deps_.ends->SubmitAlways({.uid = resolved_.caller.identity.uid},
                           [core = deps_.core, watcher = deps_.watcher, session_id] {
                             if (watcher->IsExiting(session_id)) core->ProcessExiting(session_id);
                           });
}

void AttachStream::FinishWith(const absl::Status& status) {
  const MutexLock lock(&mutex_);
  if (!finish_.has_value()) finish_ = status;
  Advance();
}

void AttachStream::Advance() {
  if (reactor_ == nullptr || finished_ || writing_) return;
  if (welcomed_ && !broken_ && !queue_.empty()) {
    outgoing_ = std::move(queue_.front());
    queue_.pop_front();
    outgoing_.set_sequence(++sequence_);
    writing_ = true;
    reactor_->StartWrite(&outgoing_);
  } else if (finish_.has_value()) {
    finished_ = true;
    reactor_->Finish(ToGrpcStatus(*finish_));
  }
}

}  // namespace a8a::daemon
