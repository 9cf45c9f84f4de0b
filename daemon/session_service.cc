#include "daemon/session_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/refusal.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

// A session has one stream. The other is for one that begins while the end of the last has not been noticed yet, and
// for streams that have not said hello.
constexpr int kStreamsPerSession = 2;

}  // namespace

absl::StatusOr<CallerResolver::Resolved> SessionService::Admit(const grpc::CallbackServerContext& context) {
  A8A_ASSIGN_OR_RETURN(CallerResolver::Resolved resolved, deps_.callers->Resolve(context));
  const std::uint32_t uid = resolved.caller.identity.uid;
  const int limit = kStreamsPerSession * settings_->current()->session_max_per_uid;
  const int count = streams_.Count(uid);
  if (count >= limit) {
    return absl::ResourceExhaustedError(absl::StrCat("uid ", uid, " has ", count, " Attach streams; its limit is ",
                                                     limit, " (twice session_max_per_uid)"));
  }
  resolved.stream = streams_.Take(uid, 1);
  return resolved;
}

AttachStream::Reactor* SessionService::Attach(grpc::CallbackServerContext* context) {
  auto resolved = Admit(*context);
  if (!resolved.ok()) return NewRefusal<AttachStream::Reactor>(deps_, *context, resolved.status());
  return AttachStream::Start(attach_deps_, *std::move(resolved), context);
}

}  // namespace a8a::daemon
