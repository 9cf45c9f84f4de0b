#include "daemon/unary_call.h"

#include <chrono>
#include <optional>
#include <utility>

#include "daemon/refusal.h"
#include "daemon/status_convert.h"

namespace a8a::daemon {
namespace {

using ExecutorReactor = LateReactor<grpc::ServerUnaryReactor>;

absl::Status CancelStatus(const grpc::CallbackServerContext& context) {
  if (std::chrono::system_clock::now() >= context.deadline()) {
    return absl::DeadlineExceededError("the deadline passed before all ranks had called");
  }
  return absl::CancelledError("the caller cancelled");
}

class WaitingReactor final : public grpc::ServerUnaryReactor {
 public:
  WaitingReactor(grpc::CallbackServerContext* context, const Turn& turn, Core* core, Executor* ends,
                 WaitingCall::Steps steps)
      : context_(context), turn_(turn), core_(core), ends_(ends), state_(std::make_shared<State>()) {
    state_->steps = std::move(steps);
  }

  void Begin(Executor* calls) {
    // Neither `this` nor its call need exist any more once `begin` has called `done`.
    auto work = [this, core = core_, state = state_] {
      if (const std::optional<absl::Status> cancelled = state->Cancelled(); cancelled.has_value()) {
        FinishOnce(state, *cancelled);
        return;
      }
      const std::uint64_t pending_id =
          state->steps.begin([this, state](const absl::Status& status) { FinishOnce(state, status); });
      std::optional<absl::Status> cancelled;
      {
        const MutexLock lock(&state->mutex);
        state->pending_id = pending_id;
        cancelled = state->cancelled;
      }
      if (cancelled.has_value() && pending_id != 0) core->CancelPending(pending_id, *cancelled);
    };
    const absl::Status status = calls->Submit(turn_, std::move(work));
    if (!status.ok()) FinishOnce(state_, status);
  }

  void OnCancel() override {
    const absl::Status status = CancelStatus(*context_);
    std::uint64_t pending_id = 0;
    {
      const MutexLock lock(&state_->mutex);
      state_->cancelled = status;
      pending_id = state_->pending_id;
    }
    if (pending_id != 0) core_->CancelPending(pending_id, status);
  }

  void OnDone() override {
    bool lost = false;
    {
      const MutexLock lock(&state_->mutex);
      lost = state_->granted && state_->cancelled.has_value();
    }
    if (lost) ends_->SubmitAlways({.uid = turn_.uid}, [state = state_] { state->steps.undo(); });
    delete this;
  }

 private:
  // Outlives the reactor where the executor or the core still hold it.
  struct State {
    WaitingCall::Steps steps;
    Mutex mutex;
    std::uint64_t pending_id ABSL_GUARDED_BY(mutex) = 0;
    std::optional<absl::Status> cancelled ABSL_GUARDED_BY(mutex);
    bool granted ABSL_GUARDED_BY(mutex) = false;

    std::optional<absl::Status> Cancelled() {
      const MutexLock lock(&mutex);
      return cancelled;
    }
  };

  void FinishOnce(const std::shared_ptr<State>& state, const absl::Status& status) {
    const MutexLock lock(&state->mutex);
    state->granted = status.ok();
    Finish(ToGrpcStatus(status));
  }

  grpc::CallbackServerContext* const context_;
  const Turn turn_;
  Core* const core_;
  Executor* const ends_;
  const std::shared_ptr<State> state_;
};

}  // namespace

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* FinishOn(Executor* executor, const Turn& turn, std::function<absl::Status()> work) {
  auto* reactor = new ExecutorReactor();
  const absl::Status status =
      executor->Submit(turn, [reactor, work = std::move(work)] { reactor->FinishOnce(work()); });
  if (!status.ok()) reactor->FinishOnce(status);
  return reactor;
}

grpc::ServerUnaryReactor* FinishQuick(grpc::CallbackServerContext* context, Executor* executor, const Turn& turn,
                                      std::function<absl::Status()> work) {
  if (turn.not_before <= std::chrono::steady_clock::now()) return FinishNow(context, work());
  return FinishOn(executor, turn, std::move(work));
}

grpc::ServerUnaryReactor* FinishRefused(const ServiceDeps& deps, grpc::CallbackServerContext* context,
                                        const absl::Status& status) {
  return NewRefusal<grpc::ServerUnaryReactor>(deps, *context, status);
}

grpc::ServerUnaryReactor* FinishAlwaysOn(Executor* executor, const Turn& turn, std::function<absl::Status()> work) {
  auto* reactor = new ExecutorReactor();
  executor->SubmitAlways(turn, [reactor, work = std::move(work)] { reactor->FinishOnce(work()); });
  return reactor;
}

grpc::ServerUnaryReactor* WaitingCall::Start(grpc::CallbackServerContext* context, const Turn& turn,
                                             Steps steps) const {
  auto* reactor = new WaitingReactor(context, turn, core_, ends_, std::move(steps));
  reactor->Begin(calls_);
  return reactor;
}

}  // namespace a8a::daemon
