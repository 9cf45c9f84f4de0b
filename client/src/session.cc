#include "client/src/session.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/src/deadline.h"
#include "client/src/signal_mask.h"
#include "kernels/base/status_macros.h"
#include "proto/fd_protocol.h"

namespace a8a::client {
namespace {

// How long Close waits for the daemon to free what the session holds. It does so in milliseconds; a daemon that does
// not answer frees it when this process ends.
constexpr absl::Duration kGoodbyeTimeout = absl::Seconds(2);
// How long an attempt to take the session up again may take.
constexpr absl::Duration kResumeTimeout = absl::Seconds(10);
// Pauses between such attempts: a daemon restarts in well under a second, and one attempt costs it next to nothing.
constexpr absl::Duration kRetryPauseMin = absl::Milliseconds(50);
constexpr absl::Duration kRetryPauseMax = absl::Seconds(1);
// How long handing descriptors back may take: it is a message on a local socket each, and a CUDA driver's import.
constexpr absl::Duration kHandBackTimeout = absl::Seconds(10);
// How long a call waits for a daemon that restarts before it says so: some pauses between attempts to reach it.
constexpr absl::Duration kRestartPatience = absl::Seconds(3);
// Releases that wait for the daemon; what exceeds this ends with the session.
constexpr std::size_t kKeptCallsMax = 65536;
// News of groups and leases whose owners have not asked for it yet. Entries are dropped with their owners; what exceeds
// this belongs to nobody, and only costs a message its details.
constexpr std::size_t kNewsMax = 4096;

template <typename Map>
void Remember(Map* news, std::uint64_t id, std::string text) {
  (*news)[id] = std::move(text);
  if (news->size() > kNewsMax) news->erase(news->begin());
}

DeviceKind FromProto(v1::DeviceKind kind) {
  switch (kind) {
    case v1::DEVICE_KIND_HOST:
      return DeviceKind::kHost;
    case v1::DEVICE_KIND_CUDA:
      return DeviceKind::kCuda;
    default:
      return DeviceKind::kUnknown;
  }
}

// Whether an attempt to resume that ended so may succeed later. ALREADY_EXISTS: the daemon has not noticed yet that the
// old stream is broken.
bool IsTransient(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kAborted:
      return false;
    default:
      return true;
  }
}

// Doubles from kRetryPauseMin to kRetryPauseMax, with up to half of it taken off at random, so that the sessions of a
// restarted daemon do not all come at once.
class RetryPause {
 public:
  absl::Duration Next() {
    const absl::Duration pause = pause_;
    pause_ = std::min(pause_ * 2, kRetryPauseMax);
    return pause * std::uniform_real_distribution<double>(0.5, 1.0)(random_);
  }
  void Reset() { pause_ = kRetryPauseMin; }

 private:
  absl::Duration pause_ = kRetryPauseMin;
  std::minstd_rand random_{static_cast<unsigned>(::getpid())};
};

}  // namespace

absl::StatusOr<std::shared_ptr<Session>> Session::Attach(SessionOptions options, absl::Time deadline) {
  std::shared_ptr<Session> session(new Session(std::move(options)));
  A8A_RETURN_IF_ERROR(session->Start(deadline));
  absl::Status failure;
  {
    // RunThread keeps the deadline; it ends kAttaching in any case.
    const MutexLock lock(&session->mutex_);
    while (session->state_ == State::kAttaching) session->changed_.Wait(&session->mutex_);
    if (session->state_ == State::kEnded) failure = session->last_error_;
  }
  if (!failure.ok()) return failure;
  return session;
}

absl::Status Session::Start(absl::Time deadline) {
  grpc_ = std::make_unique<GrpcLibrary>();
  const BlockSignals block;
  try {
    thread_ = std::thread([this, deadline] { RunThread(deadline); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot start a thread for the session: ", error.what()));
  }
  return absl::OkStatus();
}

Session::Session(SessionOptions options) : options_(std::move(options)), pid_(::getpid()) {}

Session::~Session() { Close(); }

void Session::Close() {
  if (in_forked_child()) return AbandonInChild();
  {
    const MutexLock lock(&mutex_);
    state_ = State::kClosed;
    if (stream_ != nullptr) stream_->Stop(kGoodbyeTimeout);
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  grpc_.reset();
}

// Destroying the connection would act on a socket that the parent uses, and taking gRPC down would wait for threads
// that do not exist here: both are kept for good. No lock: its owner may not exist here either.
void Session::AbandonInChild() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static auto* const abandoned = new std::vector<std::shared_ptr<void>>();
  if (thread_.joinable()) thread_.detach();
  abandoned->push_back(std::move(connection_));
  abandoned->push_back(std::shared_ptr<GrpcLibrary>(std::move(grpc_)));
}

bool Session::in_forked_child() const { return ::getpid() != pid_; }

void Session::RunThread(absl::Time attach_deadline) {
  pthread_setname_np(pthread_self(), "a8a-session");
  RetryPause pause;
  absl::Time deadline = attach_deadline;
  while (true) {
    const absl::Status end = RunStream(deadline);
    if (IsAttached()) pause.Reset();
    if (!OnStreamEnd(end) || !WaitBeforeRetry(pause.Next())) return;
    deadline = absl::Now() + kResumeTimeout;
  }
}

absl::Status Session::RunStream(absl::Time welcome_deadline) {
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<DaemonConnection> connection,
                       DaemonConnection::Open(options_.runtime_dir, welcome_deadline));
  v1::Hello hello;
  hello.set_client_name(options_.client_name);
  hello.set_protocol_version(kProtocolVersion);
  {
    const MutexLock lock(&mutex_);
    hello.set_resume_session_id(id_);
    hello.set_resume_state_id(state_id_);
  }
  AttachStream stream(connection->session(), hello, [this](const auto& message) { OnMessage(message); });
  {
    const MutexLock lock(&mutex_);
    if (state_ == State::kClosed) return absl::CancelledError("closed");
    connection_ = connection;
    stream_ = &stream;
  }
  const absl::Status end = stream.Run(welcome_deadline);
  {
    const MutexLock lock(&mutex_);
    stream_ = nullptr;
    connection_.reset();  // calls that are under way hold it too
  }
  // These may be gRPC's own, whose messages name nothing.
  if (!absl::IsUnavailable(end) && !absl::IsDeadlineExceeded(end)) return end;
  return WithContext(end, absl::StrCat("attach at ", options_.runtime_dir, "/", kGrpcSocketName));
}

bool Session::IsAttached() const {
  const MutexLock lock(&mutex_);
  return state_ == State::kAttached;
}

void Session::OnMessage(const v1::AttachResponse& message) {
  if (message.has_welcome()) return OnWelcome(message.welcome());
  OnEvent(message);
}

void Session::OnEvent(const v1::AttachResponse& message) {
  const MutexLock lock(&mutex_);
  switch (message.message_case()) {
    case v1::AttachResponse::kGroupAborted:
      return Remember(&group_ends_, message.group_aborted().group_id(), message.group_aborted().text());
    case v1::AttachResponse::kBufferRevoked:
      return Remember(&revoked_leases_, message.buffer_revoked().buffer_id(),
                      v1::EndReason_Name(message.buffer_revoked().reason()));
    case v1::AttachResponse::kDraining:
      draining_ = true;
      return;
    case v1::AttachResponse::kUndrained:
      draining_ = false;
      return;
    case v1::AttachResponse::kWelcome:
    case v1::AttachResponse::MESSAGE_NOT_SET:
      return;  // of a newer daemon
  }
}

void Session::OnWelcome(const v1::Welcome& welcome) {
  // Before anything new can be asked for: then what is held is what was held.
  if (welcome.hand_back()) {
    const absl::Status status = HandBack(welcome.session_id());
    if (!status.ok()) {
      const MutexLock lock(&mutex_);
      stream_->Break();  // and try again
      return;
    }
  }
  {
    const MutexLock lock(&mutex_);
    id_ = welcome.session_id();
    state_id_ = welcome.state_id();
    devices_.clear();
    for (const v1::Device& device : welcome.devices()) {
      devices_.push_back({device.name(), FromProto(device.kind()), device.uuid()});
    }
    if (state_ == State::kAttaching || state_ == State::kReconnecting) state_ = State::kAttached;
    changed_.NotifyAll();
  }
  MakeKeptCalls();
}

absl::Status Session::HandBack(std::uint64_t session_id) {
  const absl::Time deadline = absl::Now() + kHandBackTimeout;
  A8A_ASSIGN_OR_RETURN(FdConnection connection, FdConnection::Open(options_.runtime_dir, deadline));
  return holdings_.HandBack(session_id, &connection, deadline);
}

bool Session::KeepCall(std::function<void()> call) {
  const MutexLock lock(&mutex_);
  switch (state_) {
    case State::kAttached:
      // Broken all the same if the connection is gone; else it has been taken up again meanwhile.
      if (connection_ != nullptr) return false;
      break;
    case State::kAttaching:
    case State::kReconnecting:
      break;
    case State::kEnded:
    case State::kClosed:
      return true;
  }
  if (kept_calls_.size() < kKeptCallsMax) kept_calls_.push_back(std::move(call));
  return true;
}

void Session::MakeKeptCalls() {
  std::vector<std::function<void()>> calls;
  {
    const MutexLock lock(&mutex_);
    calls.swap(kept_calls_);
  }
  for (const std::function<void()>& call : calls) call();
}

bool Session::OnStreamEnd(const absl::Status& end) {
  const MutexLock lock(&mutex_);
  last_error_ = end.ok() ? absl::UnavailableError("the daemon closed the stream") : end;
  if (state_ == State::kClosed) return false;
  const bool again = state_ != State::kAttaching && IsTransient(last_error_);
  state_ = again ? State::kReconnecting : State::kEnded;
  changed_.NotifyAll();
  return again;
}

bool Session::WaitBeforeRetry(absl::Duration pause) {
  const auto until = ToSteadyClock(absl::Now() + pause);
  const MutexLock lock(&mutex_);
  while (state_ != State::kClosed) {
    if (!changed_.WaitUntil(&mutex_, until)) return state_ != State::kClosed;
  }
  return false;
}

void Session::WaitWhileReconnecting(absl::Time deadline) const {
  if (in_forked_child()) return;
  const auto until = ToSteadyClock(std::min(deadline, absl::Now() + kRestartPatience));
  const MutexLock lock(&mutex_);
  while (state_ == State::kReconnecting || (state_ == State::kAttached && connection_ == nullptr)) {
    if (!changed_.WaitUntil(&mutex_, until)) return;
  }
}

absl::StatusOr<std::shared_ptr<DaemonConnection>> Session::Connection(absl::string_view what) const {
  if (in_forked_child()) {
    return absl::FailedPreconditionError(
        absl::StrCat(what, ": the session belongs to the parent process ", pid_, "; a forked child needs its own"));
  }
  const MutexLock lock(&mutex_);
  if (state_ == State::kAttached && connection_ != nullptr) return connection_;
  if (state_ == State::kAttached) {
    // The stream has ended, and the session's thread is on its way to say so.
    return absl::UnavailableError(absl::StrCat(what, ": the connection to the daemon has just ended"));
  }
  const absl::Status status = StatusLocked();
  if (state_ == State::kEnded) return absl::NotFoundError(absl::StrCat(what, ": ", status.message()));
  return absl::UnavailableError(absl::StrCat(what, ": ", status.message()));
}

absl::Status Session::StatusLocked() const {
  switch (state_) {
    case State::kAttached:
      return absl::OkStatus();
    case State::kEnded:
      return absl::AbortedError(absl::StrCat("session ", id_, " was ended by the daemon: ", last_error_.message()));
    case State::kAttaching:
    case State::kReconnecting:
      return absl::UnavailableError(absl::StrCat("session ", id_, " has lost the daemon at ", options_.runtime_dir, "/",
                                                 kGrpcSocketName, " and tries to reach it: ", last_error_.message()));
    case State::kClosed:
      return absl::UnavailableError(absl::StrCat("session ", id_, " is closed: its Client was destroyed"));
  }
  return absl::InternalError("session: impossible state");
}

std::uint64_t Session::id() const {
  const MutexLock lock(&mutex_);
  return id_;
}

absl::Status Session::status() const {
  const MutexLock lock(&mutex_);
  return StatusLocked();
}

bool Session::draining() const {
  const MutexLock lock(&mutex_);
  return draining_;
}

std::vector<DeviceInfo> Session::devices() const {
  const MutexLock lock(&mutex_);
  return devices_;
}

std::string Session::GroupEndText(std::uint64_t group_id) const {
  const MutexLock lock(&mutex_);
  const auto end = group_ends_.find(group_id);
  return end == group_ends_.end() ? std::string() : end->second;
}

void Session::ForgetGroup(std::uint64_t group_id) {
  const MutexLock lock(&mutex_);
  group_ends_.erase(group_id);
}

std::string Session::RevocationReason(std::uint64_t buffer_id) const {
  const MutexLock lock(&mutex_);
  const auto reason = revoked_leases_.find(buffer_id);
  return reason == revoked_leases_.end() ? std::string() : reason->second;
}

void Session::ForgetLease(std::uint64_t buffer_id) {
  const MutexLock lock(&mutex_);
  revoked_leases_.erase(buffer_id);
}

}  // namespace a8a::client
