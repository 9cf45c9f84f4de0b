#include "daemon/access.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace a8a::daemon {
namespace {

bool Contains(const std::vector<uid_t>& ids, uid_t id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

bool IsMember(const Peer& peer, const std::vector<gid_t>& gids) {
  return Contains(gids, peer.identity.gid) ||
         std::any_of(peer.groups.begin(), peer.groups.end(), [&](gid_t gid) { return Contains(gids, gid); });
}

}  // namespace

bool IsAdministrator(const Peer& peer, const Options& options) {
  const uid_t uid = peer.identity.uid;
  return uid == 0 || uid == ::geteuid() || Contains(options.admin_uids, uid) || IsMember(peer, options.admin_gids);
}

absl::Status CheckMayConnect(const Peer& peer, const Options& options) {
  if (options.allowed_uids.empty() && options.allowed_gids.empty()) return absl::OkStatus();
  if (Contains(options.allowed_uids, peer.identity.uid) || IsMember(peer, options.allowed_gids) ||
      IsAdministrator(peer, options)) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(absl::StrCat("uid ", peer.identity.uid, ", gid ", peer.identity.gid,
                                                  " is in neither allowed_uids nor allowed_gids"));
}

}  // namespace a8a::daemon
