#include "client/src/attach_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/deadline.h"
#include "client/src/grpc_status.h"

namespace a8a::client {

AttachStream::AttachStream(v1::SessionService::Stub* stub, const v1::Hello& hello, MessageHandler on_message)
    : hello_(hello), on_message_(std::move(on_message)), stream_(stub->PrepareAsyncAttach(&context_, &queue_)) {}

AttachStream::~AttachStream() { Drain(); }

absl::Status AttachStream::Run(absl::Time welcome_deadline) {
  deadline_ = welcome_deadline;
  stream_->StartCall(reinterpret_cast<void*>(kStarted));
  while (!ended_) {
    void* tag = nullptr;
    bool ok = false;
    switch (queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(deadline_))) {
      case grpc::CompletionQueue::GOT_EVENT:
        OnEvent(static_cast<Tag>(reinterpret_cast<std::intptr_t>(tag)), ok);
        break;
      case grpc::CompletionQueue::TIMEOUT:
        OnDeadline();
        break;
      case grpc::CompletionQueue::SHUTDOWN:
        ended_ = true;
        break;
    }
  }
  Drain();
  if (timed_out_) return absl::DeadlineExceededError("the daemon did not answer the attach in time");
  return FromGrpcStatus(end_);
}

void AttachStream::Stop(absl::Duration timeout) {
  const MutexLock lock(&mutex_);
  if (stopping_) return;
  stopping_ = true;
  stop_deadline_ = DeadlineAfter(timeout);
  // The alarm only wakes the thread of Run; it goes off at once.
  if (!queue_closed_) stop_alarm_.Set(&queue_, gpr_now(GPR_CLOCK_REALTIME), reinterpret_cast<void*>(kStop));
}

void AttachStream::OnEvent(Tag tag, bool ok) {
  switch (tag) {
    case kStarted:
      // Not ok: the connection broke; Finish says how.
      if (!ok) return stream_->Finish(&end_, reinterpret_cast<void*>(kFinished));
      hello_due_ = true;
      reading_ = true;
      stream_->Read(&incoming_, reinterpret_cast<void*>(kRead));
      return WriteNext();
    case kRead:
      return OnRead(ok);
    case kWritten:
      // A write that failed is followed by a read that fails, which ends the stream.
      writing_ = false;
      return WriteNext();
    case kFinished:
      ended_ = true;
      return;
    case kStop:
      return BeginStop();
  }
}

void AttachStream::OnRead(bool ok) {
  reading_ = false;
  if (!ok) return stream_->Finish(&end_, reinterpret_cast<void*>(kFinished));
  if (!welcomed_) {
    welcomed_ = true;
    if (!goodbye_due_) deadline_ = absl::InfiniteFuture();
  }
  received_ = incoming_.sequence();
  on_message_(incoming_);
  reading_ = true;
  stream_->Read(&incoming_, reinterpret_cast<void*>(kRead));
  WriteNext();
}

void AttachStream::OnDeadline() {
  deadline_ = absl::InfiniteFuture();
  timed_out_ = !welcomed_;
  context_.TryCancel();
}

void AttachStream::BeginStop() {
  goodbye_due_ = true;
  {
    const MutexLock lock(&mutex_);
    deadline_ = stop_deadline_;
  }
  WriteNext();
}

void AttachStream::WriteNext() {
  if (writing_ || !reading_ || goodbye_said_) return;
  v1::AttachRequest request;
  if (hello_due_) {
    *request.mutable_hello() = hello_;
    hello_due_ = false;
  } else if (goodbye_due_ && welcomed_) {
    request.mutable_goodbye();
    goodbye_said_ = true;
  } else if (received_ > acknowledged_) {
    request.mutable_acknowledge()->set_sequence(received_);
    acknowledged_ = received_;
  } else {
    return;
  }
  writing_ = true;
  stream_->Write(request, reinterpret_cast<void*>(kWritten));
}

void AttachStream::Drain() {
  {
    const MutexLock lock(&mutex_);
    if (queue_closed_) return;
    queue_closed_ = true;
    queue_.Shutdown();
  }
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

}  // namespace a8a::client
