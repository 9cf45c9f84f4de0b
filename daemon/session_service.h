// a8a.v1.SessionService: opens Attach streams.
#ifndef A8A_DAEMON_SESSION_SERVICE_H_
#define A8A_DAEMON_SESSION_SERVICE_H_

#include "a8a/v1/session_service.grpc.pb.h"
#include "daemon/attach_stream.h"
#include "daemon/caller.h"
#include "daemon/service_deps.h"
#include "daemon/settings.h"
#include "daemon/uid_counter.h"

namespace a8a::daemon {

class SessionService final : public v1::SessionService::CallbackService {
 public:
  // `settings` outlives the service.
  SessionService(const AttachDeps& attach_deps, const ServiceDeps& deps, const Settings* settings)
      : attach_deps_(attach_deps), deps_(deps), settings_(settings) {}

  AttachStream::Reactor* Attach(grpc::CallbackServerContext* context) override;

 private:
  [[nodiscard]] absl::StatusOr<CallerResolver::Resolved> Admit(const grpc::CallbackServerContext& context);

  const AttachDeps attach_deps_;
  const ServiceDeps deps_;
  const Settings* const settings_;
  UidCounter streams_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SESSION_SERVICE_H_
