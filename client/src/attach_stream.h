// One Attach stream, from hello to its end.
//
// It is driven by the one thread that calls Run: a completion queue instead of blocking reads and writes, so that no
// write can block behind a daemon that does not read, and Stop never has to wait for one. Acknowledgements are
// coalesced: only the latest sequence number goes out.
#ifndef A8A_CLIENT_SRC_ATTACH_STREAM_H_
#define A8A_CLIENT_SRC_ATTACH_STREAM_H_

#include <grpcpp/alarm.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/status.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "a8a/v1/session_service.grpc.pb.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/base/mutex.h"

namespace a8a::client {

class AttachStream {
 public:
  using MessageHandler = std::function<void(const v1::AttachResponse&)>;

  // `stub` outlives the stream. `on_message` is called on the thread of Run.
  AttachStream(v1::SessionService::Stub* stub, const v1::Hello& hello, MessageHandler on_message);
  ~AttachStream();
  AttachStream(const AttachStream&) = delete;
  AttachStream& operator=(const AttachStream&) = delete;

  // Runs the stream to its end and returns its status. DEADLINE_EXCEEDED if the daemon's first message has not come by
  // `welcome_deadline`; after it there is no limit but Stop.
  [[nodiscard]] absl::Status Run(absl::Time welcome_deadline);

  // Says goodbye; Run then ends when the daemon has closed the stream, but no later than `timeout` from now. From any
  // thread, before, during or after Run; the first call counts.
  void Stop(absl::Duration timeout);
  // Breaks the stream: Run ends with CANCELLED. From on_message.
  void Break() { context_.TryCancel(); }

 private:
  enum Tag : std::intptr_t { kStarted = 1, kRead, kWritten, kFinished, kStop };

  [[nodiscard]] absl::Time NextDeadline() const;
  void OnEvent(Tag tag, bool ok);
  void OnDeadline();
  void OnRead(bool ok);
  void BeginStop();
  // Starts the next write if one is due and none is under way.
  void WriteNext();
  void Drain();

  const v1::Hello hello_;
  const MessageHandler on_message_;
  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::AttachRequest, v1::AttachResponse>> stream_;

  // Touched by the thread of Run only.
  v1::AttachResponse incoming_;
  grpc::Status end_;
  absl::Time deadline_ = absl::InfiniteFuture();
  bool hello_due_ = false;
  bool goodbye_due_ = false;
  bool goodbye_said_ = false;
  bool writing_ = false;
  bool welcomed_ = false;
  bool reading_ = false;
  bool timed_out_ = false;
  bool ended_ = false;
  std::uint64_t received_ = 0;      // sequence of the latest message
  std::uint64_t acknowledged_ = 0;  // sequence of the latest acknowledgement

  mutable Mutex mutex_;
  grpc::Alarm stop_alarm_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool queue_closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time stop_deadline_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_ATTACH_STREAM_H_
