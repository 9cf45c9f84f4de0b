// What one uid may hold. Nothing is kept for it: sessions and groups are counted when one more is asked for, hundreds
// at most, and leases by the lease table, so that whatever fills the tables is within the quotas at once.
#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

absl::Status UidExhausted(std::uint32_t uid, std::int64_t actual, absl::string_view what, std::int64_t limit,
                          absl::string_view option) {
  return absl::ResourceExhaustedError(
      absl::StrCat("uid ", uid, " has ", actual, " ", what, "; its limit is ", limit, " (", option, ")"));
}

int SessionCount(const std::map<std::uint64_t, Session>& sessions, std::uint32_t uid) {
  return static_cast<int>(std::count_if(sessions.begin(), sessions.end(), [uid](const auto& session) {
    return session.second.info.identity.uid == uid;
  }));
}

int GroupCount(const std::map<std::uint64_t, Group>& groups, std::uint32_t uid) {
  return static_cast<int>(
      std::count_if(groups.begin(), groups.end(), [uid](const auto& group) { return group.second.uid == uid; }));
}

std::int64_t WindowCount(const std::map<std::uint64_t, Group>& groups, std::uint32_t uid) {
  std::int64_t count = 0;
  for (const auto& [id, group] : groups) {
    if (group.uid == uid) count += static_cast<std::int64_t>(group.window_count());
  }
  return count;
}

}  // namespace

absl::Status Core::Impl::RefusedLocked(Limit limit, absl::Status status) {
  ++counters.refusals_total[static_cast<std::size_t>(limit)];
  return status;
}

absl::Status Core::Impl::CheckUidSessionsLocked(std::uint32_t uid) {
  const int limit = options.policy().uid_limits.session_max;
  const int count = SessionCount(sessions, uid);
  if (count >= limit) {
    return RefusedLocked(Limit::kSessionsOfUid, UidExhausted(uid, count, "sessions", limit, "session_max_per_uid"));
  }
  return TakeUidDescriptorLocked(uid);
}

absl::Status Core::Impl::CheckUidGroupsLocked(std::uint32_t uid) {
  const int limit = options.policy().uid_limits.group_max;
  const int count = GroupCount(groups, uid);
  if (count >= limit) {
    return RefusedLocked(Limit::kGroupsOfUid, UidExhausted(uid, count, "groups", limit, "group_max_per_uid"));
  }
  return TakeUidDescriptorLocked(uid);
}

absl::Status Core::Impl::CheckUidWindowsLocked(std::uint32_t uid) {
  const int limit = options.policy().uid_limits.window_max;
  const std::int64_t count = WindowCount(groups, uid);
  if (count >= limit) {
    return RefusedLocked(Limit::kWindowsOfUid, UidExhausted(uid, count, "windows", limit, "window_max_per_uid"));
  }
  return absl::OkStatus();
}

absl::Status Core::Impl::CheckUidDescriptorsLocked(std::uint32_t uid, int count) {
  const int limit = options.policy().uid_limits.descriptor_max;
  const std::int64_t held = leases.UidLeaseCount(uid) + SessionCount(sessions, uid) + GroupCount(groups, uid) +
                            options.connection_descriptors(uid);
  if (held + count <= limit) return absl::OkStatus();
  return UidExhausted(uid, held, absl::StrCat("of the daemon's descriptors and needs ", count, " more"), limit,
                      "descriptor_max_per_uid, or half of RLIMIT_NOFILE");
}

absl::Status Core::Impl::TakeUidDescriptorLocked(std::uint32_t uid) {
  absl::Status status = CheckUidDescriptorsLocked(uid, 1);
  return status.ok() ? status : RefusedLocked(Limit::kDescriptorsOfUid, std::move(status));
}

absl::StatusOr<Reservation> Core::Impl::ReserveForUidLocked(Reservation wanted) {
  const UidLimits limits = options.policy().uid_limits;
  const std::int64_t count = leases.UidLeaseCount(wanted.uid);
  if (count >= limits.buffer_max) {
    return RefusedLocked(Limit::kBuffersOfUid,
                         UidExhausted(wanted.uid, count, "buffers", limits.buffer_max, "buffer_max_per_uid"));
  }
  const std::int64_t held = leases.UidAccount(*wanted.device, wanted.uid).bytes;
  const std::int64_t size_bytes = LeaseTable::RoundUp(*wanted.device, wanted.size_bytes);
  if (limits.device_bytes_max != 0 && size_bytes > limits.device_bytes_max - held) {
    const std::string what =
        absl::StrCat("bytes of device ", wanted.device->provider->device().name, " and wants ", size_bytes, " more");
    return RefusedLocked(Limit::kBytesOfUid,
                         UidExhausted(wanted.uid, held, what, limits.device_bytes_max, "bytes_max_per_uid"));
  }
  A8A_RETURN_IF_ERROR(TakeUidDescriptorLocked(wanted.uid));
  const bool buffers_left = !leases.full();
  absl::StatusOr<Reservation> reserved = leases.Reserve(std::move(wanted));
  if (reserved.ok()) return reserved;
  return RefusedLocked(buffers_left ? Limit::kPool : Limit::kBuffers, reserved.status());
}

absl::Status Core::CheckDescriptors(std::uint32_t uid, int count) const {
  const MutexLock lock(&impl_->mutex);
  return impl_->CheckUidDescriptorsLocked(uid, count);
}

}  // namespace a8a::daemon
