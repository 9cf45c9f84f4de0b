#include "tests/fuzz/attach_call.h"

#include <sys/eventfd.h>

#include <future>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "tests/fuzz/checks.h"

namespace a8a::fuzz {

void WaitForEnds(daemon::Executor* ends) {
  std::promise<void> done;
  ends->SubmitAlways({.uid = daemon::Executor::kDaemon}, [&done] { done.set_value(); });
  done.get_future().wait();
}

AttachCall::AttachCall(const daemon::AttachDeps& deps, const daemon::Caller& caller,
                       std::function<void(const v1::AttachResponse&)> on_response)
    : deps_(deps), on_response_(std::move(on_response)) {
  // In the place of a pidfd: a process that does not end. Targets end it by Core::ProcessEnded.
  const auto connection =
      std::make_shared<daemon::Connection>(daemon::Connection{.peer = {.identity = caller.identity, .groups = {}},
                                                              .pidfd = UniqueFd(::eventfd(0, EFD_CLOEXEC)),
                                                              .descriptors = {}});
  reactor_ = daemon::AttachStream::Start(deps, {.caller = caller, .turn = {}, .connection = connection}, nullptr);
  BindReactor(reactor_);
}

AttachCall::~AttachCall() {
  if (!over()) Cancel();
  while (!over() && write_ != nullptr) TakeResponse(/*arrived=*/false);
  A8A_CHECK(over(), "a cancelled call does not end");
}

bool AttachCall::Send(absl::string_view bytes) {
  if (over() || read_ == nullptr) return false;
  const bool parsed = std::exchange(read_, nullptr)->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  reactor_->OnReadDone(parsed);
  Settle();
  return true;
}

void AttachCall::TakeResponse(bool arrived) {
  if (over() || write_ == nullptr) return;
  write_ = nullptr;
  reactor_->OnWriteDone(arrived);
  Settle();
}

void AttachCall::Cancel() {
  if (over()) return;
  reactor_->OnCancel();
  Settle();
}

void AttachCall::Finish(grpc::Status status) {
  CheckAnswer(absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message()));
  A8A_CHECK(!finished_ && write_ == nullptr, "finished twice, or before the last write was done");
  finished_ = true;
}

void AttachCall::Write(const v1::AttachResponse* response, grpc::WriteOptions) {
  A8A_CHECK(write_ == nullptr && !finished_, "a write before the last one was done");
  write_ = response;
  on_response_(*response);
}

void AttachCall::WriteAndFinish(const v1::AttachResponse* response, grpc::WriteOptions options, grpc::Status status) {
  Write(response, options);
  write_ = nullptr;
  Finish(std::move(status));
}

void AttachCall::Settle() {
  WaitForEnds(deps_.ends);
  if (!finished_ || over()) return;
  // A read that is open when the call ends comes back with nothing.
  if (std::exchange(read_, nullptr) != nullptr) reactor_->OnReadDone(false);
  std::exchange(reactor_, nullptr)->OnDone();
}

}  // namespace a8a::fuzz
