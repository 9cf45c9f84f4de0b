// Calls that CallerResolver has refused because their uid makes too many: they end half a second late, so that who
// calls again at once, and waits for answers, is slow. Who has thousands of calls to be refused loses the connection
// instead.
#ifndef A8A_DAEMON_REFUSAL_H_
#define A8A_DAEMON_REFUSAL_H_

#include <grpcpp/server_context.h>

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "daemon/service_deps.h"
#include "daemon/status_convert.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

// Finishes a call from any thread. The lock orders what the finishing thread wrote before the destruction of the call,
// in a way that ThreadSanitizer sees, which gRPC's own synchronization is not.
template <typename Reactor>
class LateReactor final : public Reactor {
 public:
  void FinishOnce(const absl::Status& status) {
    const std::shared_ptr<Mutex> mutex = mutex_;
    const MutexLock lock(mutex.get());
    this->Finish(ToGrpcStatus(status));
  }
  void OnDone() override {
    { const MutexLock lock(mutex_.get()); }
    delete this;
  }

 private:
  // Shared, because the call may be over before FinishOnce has unlocked it.
  const std::shared_ptr<Mutex> mutex_ = std::make_shared<Mutex>();
};

// Calls `finish` late for RESOURCE_EXHAUSTED, at once for any other status.
void Refuse(const ServiceDeps& deps, const grpc::CallbackServerContext& context, const absl::Status& status,
            std::function<void()> finish);

// The reactor of a call that ends with `status` and does nothing else.
template <typename Reactor>
[[nodiscard]] Reactor* NewRefusal(const ServiceDeps& deps, const grpc::CallbackServerContext& context,
                                  const absl::Status& status) {
  auto* reactor = new LateReactor<Reactor>();
  Refuse(deps, context, status, [reactor, status] { reactor->FinishOnce(status); });
  return reactor;
}

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_REFUSAL_H_
