// a8a.v1.SessionService: opens Attach streams.
#ifndef A8A_DAEMON_SESSION_SERVICE_H_
#define A8A_DAEMON_SESSION_SERVICE_H_

#include "a8a/v1/session_service.grpc.pb.h"
#include "daemon/attach_stream.h"
#include "daemon/caller.h"

namespace a8a::daemon {

class SessionService final : public v1::SessionService::CallbackService {
 public:
  // `callers` outlives the service.
  SessionService(const AttachDeps& deps, const CallerResolver* callers) : deps_(deps), callers_(callers) {}

  AttachStream::Reactor* Attach(grpc::CallbackServerContext* context) override;

 private:
  const AttachDeps deps_;
  const CallerResolver* const callers_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SESSION_SERVICE_H_
