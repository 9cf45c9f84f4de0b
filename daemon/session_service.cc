#include "daemon/session_service.h"

#include <utility>

#include "daemon/status_convert.h"

namespace a8a::daemon {
namespace {

class RefusingReactor final : public AttachStream::Reactor {
 public:
  explicit RefusingReactor(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

AttachStream::Reactor* SessionService::Attach(grpc::CallbackServerContext* context) {
  auto resolved = callers_->Resolve(*context);
  if (!resolved.ok()) return new RefusingReactor(resolved.status());
  return AttachStream::Start(deps_, *std::move(resolved), context);
}

}  // namespace a8a::daemon
