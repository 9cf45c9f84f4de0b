// One Attach call without a connection: the real AttachStream on one side, and on the other a stream that does what it
// is told. gRPC's promises are kept: one read and one write at a time, reactions one after the other, OnDone last.
//
// Used by one thread. Reactions may be caused by another, before WaitForEnds returns.
#ifndef A8A_TESTS_FUZZ_ATTACH_CALL_H_
#define A8A_TESTS_FUZZ_ATTACH_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>

#include "a8a/v1/session_service.pb.h"
#include "absl/strings/string_view.h"
#include "daemon/attach_stream.h"

namespace a8a::fuzz {

class AttachCall final : public grpc::ServerCallbackReaderWriter<v1::AttachRequest, v1::AttachResponse> {
 public:
  // `on_response` is called for every message that the daemon writes, from whatever call of the core makes it write.
  AttachCall(const daemon::AttachDeps& deps, const daemon::Caller& caller,
             std::function<void(const v1::AttachResponse&)> on_response);
  // The call is over.
  ~AttachCall() override;

  // The client sends a message, which ends the stream if it is none. False if the daemon reads no more.
  bool Send(absl::string_view bytes);
  // The client takes a message, or is found to be gone.
  void TakeResponse(bool arrived);
  void Cancel();

  [[nodiscard]] bool over() const { return reactor_ == nullptr; }

 private:
  // The daemon's side.
  void Finish(grpc::Status status) override;
  void SendInitialMetadata() override {}
  void Read(v1::AttachRequest* request) override { read_ = request; }
  void Write(const v1::AttachResponse* response, grpc::WriteOptions options) override;
  void WriteAndFinish(const v1::AttachResponse* response, grpc::WriteOptions options, grpc::Status status) override;
  grpc::internal::ServerReactor* reactor() override { return reactor_; }
  void CallOnDone() override {}

  // Waits for what `ends` still has to do, and ends the call if it is finished.
  void Settle();

  const daemon::AttachDeps deps_;
  const std::function<void(const v1::AttachResponse&)> on_response_;
  daemon::AttachStream::Reactor* reactor_;  // deletes itself when the call is over
  v1::AttachRequest* read_ = nullptr;
  const v1::AttachResponse* write_ = nullptr;
  bool finished_ = false;
};

// Returns when the executor has done what was submitted before; it has one thread.
void WaitForEnds(daemon::Executor* ends);

}  // namespace a8a::fuzz

#endif  // A8A_TESTS_FUZZ_ATTACH_CALL_H_
