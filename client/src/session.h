// The session of this process with the daemon: one connection, one thread that keeps the Attach stream, and what the
// daemon has told so far.
//
// When the stream breaks, the session is taken up again in the background, with growing pauses, until the daemon says
// that it knows it no more or Close is called. Groups do not depend on any of this: their data path is shared memory.
//
// Thread-safe. Shared by the Client and all that was made from it, so that none of them is left with a dangling
// session; Close is what ends it, and the Client calls it. In a forked child a session does nothing and frees nothing:
// its connection is the parent's.
#ifndef A8A_CLIENT_SRC_SESSION_H_
#define A8A_CLIENT_SRC_SESSION_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/src/attach_stream.h"
#include "client/src/daemon_connection.h"
#include "client/src/data_plane.h"
#include "client/src/grpc_library.h"
#include "client/src/grpc_status.h"
#include "client/src/holdings.h"
#include "kernels/base/mutex.h"

namespace a8a::client {

struct SessionOptions {
  std::string runtime_dir;
  std::string client_name;
};

class Session {
 public:
  // Attaches. Errors: as Client::Connect.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<Session>> Attach(SessionOptions options, absl::Time deadline);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Says goodbye and waits, for a bounded time, until the daemon has freed what the session holds; then takes thread,
  // connection and gRPC down. Idempotent. Calls made afterwards are UNAVAILABLE.
  void Close();

  // Makes one unary call, e.g. Call(&DaemonConnection::group, &v1::GroupService::Stub::JoinGroup, ...). `what` says
  // what it was for in the messages that do not come from the daemon.
  //
  // Errors: those of the daemon; UNAVAILABLE (not attached just now), NOT_FOUND (the daemon has ended the session),
  // DEADLINE_EXCEEDED, FAILED_PRECONDITION (in a forked child).
  template <typename Stub, typename Request, typename Response>
  [[nodiscard]] absl::Status Call(Stub* (DaemonConnection::*stub)(),
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                  const Request& request, Response* response, absl::Time deadline,
                                  absl::string_view what);

  // Waits while the session is being taken up again, as after a restart of the daemon, so that what begins now does not
  // fail for it; but not past `deadline`, and no longer than a restart takes. Before an Operation, never in one: taking
  // up waits for those.
  void WaitWhileReconnecting(absl::Time deadline) const;
  // Makes a call that gives something up. Nobody is left to be told of a failure: while the daemon is away the call is
  // kept, and made when the session has been taken up again; what fails otherwise ends with the session.
  template <typename Response, typename Stub, typename Request>
  void CallToRelease(Stub* (DaemonConnection::*stub)(),
                     grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                     const Request& request);

  [[nodiscard]] Holdings* holdings() { return &holdings_; }
  [[nodiscard]] std::uint64_t id() const;
  // As Client::status.
  [[nodiscard]] absl::Status status() const;
  [[nodiscard]] bool draining() const;
  [[nodiscard]] std::vector<DeviceInfo> devices() const;
  [[nodiscard]] const std::string& runtime_dir() const { return options_.runtime_dir; }
  [[nodiscard]] bool in_forked_child() const;

  // What the daemon has said about a group's end; empty if nothing. Forget drops it.
  [[nodiscard]] std::string GroupEndText(std::uint64_t group_id) const;
  void ForgetGroup(std::uint64_t group_id);
  // Why the daemon has revoked a lease; empty if it has not. Forget drops it.
  [[nodiscard]] std::string RevocationReason(std::uint64_t buffer_id) const;
  void ForgetLease(std::uint64_t buffer_id);

 private:
  // kAttaching -> kAttached <-> kReconnecting; all -> kEnded (the daemon's word) and kClosed (ours).
  enum class State { kAttaching, kAttached, kReconnecting, kEnded, kClosed };

  explicit Session(SessionOptions options);

  [[nodiscard]] absl::Status Start(absl::Time deadline);
  void RunThread(absl::Time attach_deadline);
  // One connection and one stream on it; returns why it ended.
  [[nodiscard]] absl::Status RunStream(absl::Time welcome_deadline);
  void OnMessage(const v1::AttachResponse& message);
  void OnWelcome(const v1::Welcome& welcome);
  void OnEvent(const v1::AttachResponse& message);
  // Gives a restarted daemon what this session holds. Blocks the session's thread.
  [[nodiscard]] absl::Status HandBack(std::uint64_t session_id);
  // Makes the calls that CallToRelease has kept.
  void MakeKeptCalls();
  // Keeps a call until the session is attached again; false if it is already.
  [[nodiscard]] bool KeepCall(std::function<void()> call);
  // Decides what the end of a stream means. Returns whether to try again.
  [[nodiscard]] bool OnStreamEnd(const absl::Status& end);
  // Returns false if Close came meanwhile.
  [[nodiscard]] bool WaitBeforeRetry(absl::Duration pause);

  [[nodiscard]] bool IsAttached() const;
  [[nodiscard]] absl::StatusOr<std::shared_ptr<DaemonConnection>> Connection(absl::string_view what) const;
  [[nodiscard]] absl::Status StatusLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AbandonInChild();

  const SessionOptions options_;
  const pid_t pid_;

  mutable Mutex mutex_;
  mutable CondVar changed_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kAttaching;
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t state_id_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<DeviceInfo> devices_ ABSL_GUARDED_BY(mutex_);
  // By id; ids grow, so that the first entries are the oldest.
  std::map<std::uint64_t, std::string> group_ends_ ABSL_GUARDED_BY(mutex_);
  std::map<std::uint64_t, std::string> revoked_leases_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<DaemonConnection> connection_ ABSL_GUARDED_BY(mutex_);
  AttachStream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;  // while RunStream runs it
  std::vector<std::function<void()>> kept_calls_ ABSL_GUARDED_BY(mutex_);
  Holdings holdings_;

  std::unique_ptr<GrpcLibrary> grpc_;
  std::thread thread_;
};

// How long a call that gives something up waits for the daemon.
inline constexpr absl::Duration kReleaseTimeout = absl::Seconds(2);

// A grpc::ClientContext with a deadline.
class CallContext {
 public:
  explicit CallContext(absl::Time deadline) { context_.set_deadline(absl::ToChronoTime(deadline)); }
  grpc::ClientContext* get() { return &context_; }

 private:
  grpc::ClientContext context_;
};

template <typename Stub, typename Request, typename Response>
absl::Status Session::Call(Stub* (DaemonConnection::*stub)(),
                           grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                           const Request& request, Response* response, absl::Time deadline, absl::string_view what) {
  const absl::StatusOr<std::shared_ptr<DaemonConnection>> connection = Connection(what);
  if (!connection.ok()) return connection.status();
  CallContext context(deadline);
  const absl::Status status = FromGrpcStatus((((**connection).*stub)()->*method)(context.get(), request, response));
  // Nobody cancels here: gRPC does it, in a daemon that stops, to calls that have just come.
  if (absl::IsCancelled(status)) return absl::UnavailableError(absl::StrCat(what, ": the daemon has just stopped"));
  // These may be gRPC's own, whose messages name nothing.
  if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) return WithContext(status, what);
  return status;
}

template <typename Response, typename Stub, typename Request>
void Session::CallToRelease(Stub* (DaemonConnection::*stub)(),
                            grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                            const Request& request) {
  const absl::Time deadline = absl::Now() + kReleaseTimeout;
  while (true) {
    Response response;
    const absl::Status status = Call(stub, method, request, &response, deadline, "release");
    if (!absl::IsUnavailable(status)) return;
    if (KeepCall([this, stub, method, request] { CallToRelease<Response>(stub, method, request); })) return;
  }
}

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_SESSION_H_
