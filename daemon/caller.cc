#include "daemon/caller.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

bool IsAdministrator(uid_t uid, const Options& options) {
  return uid == 0 || uid == ::geteuid() ||
         std::find(options.admin_uids.begin(), options.admin_uids.end(), uid) != options.admin_uids.end();
}

}  // namespace

absl::StatusOr<CallerResolver::Resolved> CallerResolver::Resolve(const grpc::CallbackServerContext& context) const {
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<const Connection> connection, registry_->Find(context.peer()));
  const Caller caller = {.identity = connection->identity,
                         .administrator = IsAdministrator(connection->identity.uid, *settings_->current())};
  return Resolved{.caller = caller, .connection = std::move(connection)};
}

}  // namespace a8a::daemon
