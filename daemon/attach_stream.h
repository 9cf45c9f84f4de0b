// One Attach stream: hello, welcome, events down, goodbye.
//
// The stream is shared by its gRPC reactor, which ends with the call, and by the core, which keeps it as the session's
// EventSink until the session ends or the stream is reported closed. Events wait in a bounded queue; a client that does
// not read them loses the stream, never the session.
//
// Thread-safe: reactions come from gRPC's threads, events from any.
#ifndef A8A_DAEMON_ATTACH_STREAM_H_
#define A8A_DAEMON_ATTACH_STREAM_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "a8a/v1/session_service.pb.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/caller.h"
#include "daemon/core/core.h"
#include "daemon/executor.h"
#include "daemon/process_watcher.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

// What a stream works with. All of it outlives the streams.
struct AttachDeps {
  Core* core = nullptr;
  ProcessWatcher* watcher = nullptr;
  Executor* ends = nullptr;
  std::uint64_t daemon_instance_id = 0;
};

class AttachStream final : public EventSink, public std::enable_shared_from_this<AttachStream> {
 public:
  using Reactor = grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>;

  // Begins to read; the reactor deletes itself when the call is over.
  [[nodiscard]] static Reactor* Start(const AttachDeps& deps, CallerResolver::Resolved resolved,
                                      grpc::CallbackServerContext* context);

  AttachStream(const AttachDeps& deps, CallerResolver::Resolved resolved, grpc::CallbackServerContext* context);

  // EventSink.
  void Send(SessionEvent event) override;

 private:
  class ReactorImpl;
  enum class Phase { kAwaitsHello, kAttached, kLeaving };

  // Reactions.
  void OnReadDone(bool ok);
  void OnWriteDone(bool ok);
  void OnCancel();
  void OnDone();

  void Handle(const v1::AttachRequest& request);
  void Hello(const v1::Hello& hello);
  [[nodiscard]] absl::StatusOr<SessionInfo> EnterCore(const v1::Hello& hello);
  [[nodiscard]] absl::StatusOr<SessionInfo> AttachNew(const v1::Hello& hello);
  [[nodiscard]] absl::Status WatchResumed(std::uint64_t session_id);
  void Welcome(const SessionInfo& session);
  void Goodbye();

  // Ends the call with `status` once what is queued is written; the first status stays.
  void FinishWith(const absl::Status& status);
  void Read();
  // Starts the next write, or finishes, if it is time to.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const AttachDeps deps_;
  const CallerResolver::Resolved resolved_;
  v1::AttachRequest incoming_;  // used by one read at a time

  Mutex mutex_;
  // Both null once the call is over.
  ReactorImpl* reactor_ ABSL_GUARDED_BY(mutex_) = nullptr;
  grpc::CallbackServerContext* context_ ABSL_GUARDED_BY(mutex_);
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kAwaitsHello;
  std::uint64_t session_id_ ABSL_GUARDED_BY(mutex_) = 0;
  // Events that come before the welcome is written wait behind it.
  bool welcomed_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<v1::AttachResponse> queue_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  v1::AttachResponse outgoing_;  // belongs to gRPC while writing_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool session_ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> finish_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_ATTACH_STREAM_H_
