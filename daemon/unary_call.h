// Two ways to answer a unary RPC other than at once: by work on an executor, and after waiting for other ranks.
#ifndef A8A_DAEMON_UNARY_CALL_H_
#define A8A_DAEMON_UNARY_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "daemon/core/core.h"
#include "daemon/executor.h"
#include "daemon/service_deps.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

// Answers at once: for calls that only take the core's lock.
[[nodiscard]] grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context, const absl::Status& status);

// Answers with what `work` returns on the executor when its turn comes, or RESOURCE_EXHAUSTED if that has no room.
// `work` may use request and response.
[[nodiscard]] grpc::ServerUnaryReactor* FinishOn(Executor* executor, const Turn& turn,
                                                 std::function<absl::Status()> work);

// As FinishOn, but answers at once if the turn need not wait: for work that only takes the core's lock.
[[nodiscard]] grpc::ServerUnaryReactor* FinishQuick(grpc::CallbackServerContext* context, Executor* executor,
                                                    const Turn& turn, std::function<absl::Status()> work);

// Answers a call that CallerResolver has refused; see refusal.h.
[[nodiscard]] grpc::ServerUnaryReactor* FinishRefused(const ServiceDeps& deps, grpc::CallbackServerContext* context,
                                                      const absl::Status& status);

// As FinishOn, for work that gives back and must not be refused.
[[nodiscard]] grpc::ServerUnaryReactor* FinishAlwaysOn(Executor* executor, const Turn& turn,
                                                       std::function<absl::Status()> work);

// A call that waits for other ranks (JoinGroup, RegisterWindow). It begins on an executor, ends when the core says so,
// and is taken back when the caller cancels or its deadline passes. It holds no thread while it waits.
class WaitingCall {
 public:
  // What the call ends with; response is filled before. Called once.
  using Done = std::function<void(const absl::Status&)>;
  struct Steps {
    // Runs on `calls`. Returns the number for Core::CancelPending, or 0.
    std::function<std::uint64_t(Done done)> begin;
    // Runs on `ends` when the core granted what nobody was there to receive any more.
    std::function<void()> undo;
  };

  // `core` and the executors outlive the call.
  WaitingCall(Core* core, Executor* calls, Executor* ends) : core_(core), calls_(calls), ends_(ends) {}

  [[nodiscard]] grpc::ServerUnaryReactor* Start(grpc::CallbackServerContext* context, const Turn& turn,
                                                Steps steps) const;

 private:
  Core* const core_;
  Executor* const calls_;
  Executor* const ends_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_UNARY_CALL_H_
