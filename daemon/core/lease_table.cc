#include "daemon/core/lease_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/core/core_state.h"
#include "kernels/base/check.h"

namespace a8a::daemon {

void Account::Add(std::int64_t size_bytes) {
  bytes += size_bytes;
  bytes_peak = std::max(bytes_peak, bytes);
  ++lease_count;
}

void Account::Remove(std::int64_t size_bytes) {
  bytes -= size_bytes;
  --lease_count;
  A8A_CHECK(bytes >= 0 && lease_count >= 0, "more was released than leased");
}

LeaseTable::LeaseTable(int buffer_max, std::vector<std::unique_ptr<MemoryProvider>> providers,
                       std::int64_t generation_floor)
    : buffer_max_(buffer_max),
      next_generation_(static_cast<std::uint64_t>(std::max<std::int64_t>(generation_floor, 0)) + 1) {
  for (auto& provider : providers) devices_.push_back({std::move(provider), {}});
}

absl::StatusOr<PoolDevice*> LeaseTable::FindDevice(absl::string_view name) {
  for (PoolDevice& device : devices_) {
    if (device.provider->device().name == name) return &device;
  }
  const auto append_name = [](std::string* out, const PoolDevice& device) {
    absl::StrAppend(out, device.provider->device().name);
  };
  return absl::NotFoundError(
      absl::StrCat("no device \"", name, "\"; there are: ", absl::StrJoin(devices_, ", ", append_name)));
}

std::int64_t LeaseTable::RoundUp(const PoolDevice& device, std::int64_t size_bytes) {
  const std::int64_t granularity = device.provider->device().granularity_bytes;
  return (size_bytes + granularity - 1) / granularity * granularity;
}

bool LeaseTable::full() const {
  return leases_.size() + static_cast<std::size_t>(reserved_count_) >= static_cast<std::size_t>(buffer_max_);
}

absl::StatusOr<Reservation> LeaseTable::Reserve(Reservation wanted) {
  const DeviceInfo& info = wanted.device->provider->device();
  if (full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("buffer \"", wanted.name, "\": the daemon has ", buffer_max_, " buffers, its limit"));
  }
  // What is accounted for is what the device spends, not what was asked.
  wanted.size_bytes = RoundUp(*wanted.device, wanted.size_bytes);
  const std::int64_t left = info.pool_limit_bytes - wanted.device->account.bytes;
  if (wanted.size_bytes > left) {
    return absl::ResourceExhaustedError(absl::StrCat("buffer \"", wanted.name, "\": ", wanted.size_bytes,
                                                     " bytes asked of device ", info.name, ", ", left,
                                                     " bytes left of its pool limit of ", info.pool_limit_bytes));
  }
  ++reserved_count_;
  wanted.device->account.Add(wanted.size_bytes);
  wanted.device->uids[wanted.uid].Add(wanted.size_bytes);
  sessions_[wanted.session_id].Add(wanted.size_bytes);
  if (wanted.group_id != 0) ranks_[{wanted.group_id, wanted.rank}].Add(wanted.size_bytes);
  return wanted;
}

void LeaseTable::Remove(PoolDevice* device, std::int64_t size_bytes, std::uint64_t session_id, RankKey rank,
                        std::uint32_t uid) {
  device->account.Remove(size_bytes);
  const auto of_uid = device->uids.find(uid);
  A8A_CHECK(of_uid != device->uids.end(), absl::StrCat("uid ", uid, " has leases without an account"));
  of_uid->second.Remove(size_bytes);
  if (of_uid->second.lease_count == 0) device->uids.erase(of_uid);
  // Sessions and groups may have been forgotten while their memory was on its way back.
  if (const auto account = sessions_.find(session_id); account != sessions_.end()) account->second.Remove(size_bytes);
  if (const auto account = ranks_.find(rank); account != ranks_.end()) account->second.Remove(size_bytes);
}

void LeaseTable::Unreserve(const Reservation& reservation) {
  --reserved_count_;
  Remove(reservation.device, reservation.size_bytes, reservation.session_id, {reservation.group_id, reservation.rank},
         reservation.uid);
}

Lease& LeaseTable::Commit(const Reservation& reservation, std::shared_ptr<Allocation> allocation) {
  --reserved_count_;
  Lease lease;
  lease.buffer = {.buffer_id = next_buffer_id_++,
                  .generation = next_generation_++,
                  .device = reservation.device->provider->device().name,
                  .size_bytes = reservation.size_bytes,
                  .session_id = reservation.session_id,
                  .name = reservation.name,
                  .group_id = reservation.group_id};
  lease.file = allocation->file_id();
  lease.allocation = std::move(allocation);
  lease.uid = reservation.uid;
  lease.rank = reservation.rank;
  const std::uint64_t buffer_id = lease.buffer.buffer_id;
  return leases_.emplace(buffer_id, std::move(lease)).first->second;
}

PoolDevice* LeaseTable::FindRecorded(absl::string_view name, absl::string_view uuid) {
  const auto found = std::find_if(devices_.begin(), devices_.end(), [&](const PoolDevice& device) {
    const DeviceInfo& info = device.provider->device();
    return info.uuid == uuid && (!uuid.empty() || info.name == name);
  });
  return found == devices_.end() ? nullptr : &*found;
}

void LeaseTable::Restore(const LeaseState& state, std::shared_ptr<Allocation> allocation) {
  PoolDevice* const device = FindRecorded(state.buffer.device, state.device_uuid);
  A8A_CHECK(device != nullptr, absl::StrCat("device ", state.buffer.device, " was looked for before"));
  Lease lease = {.buffer = state.buffer,
                 .allocation = std::move(allocation),
                 .uid = state.uid,
                 .rank = state.rank,
                 .file = state.file,
                 .claimed = false};
  lease.buffer.device = device->provider->device().name;
  device->account.Add(state.buffer.size_bytes);
  device->uids[state.uid].Add(state.buffer.size_bytes);
  sessions_[state.buffer.session_id].Add(state.buffer.size_bytes);
  if (state.buffer.group_id != 0) ranks_[{state.buffer.group_id, state.rank}].Add(state.buffer.size_bytes);
  leases_.emplace(state.buffer.buffer_id, std::move(lease));
}

void LeaseTable::RestoreIds(std::uint64_t next_buffer_id, std::uint64_t next_generation) {
  next_buffer_id_ = std::max(next_buffer_id_, next_buffer_id);
  next_generation_ = std::max(next_generation_, next_generation);
}

std::vector<std::shared_ptr<Allocation>> LeaseTable::Clear() {
  std::vector<std::shared_ptr<Allocation>> allocations;
  while (!leases_.empty()) allocations.push_back(Erase(leases_.begin()->first));
  return allocations;
}

Lease* LeaseTable::Find(std::uint64_t buffer_id) {
  const auto found = leases_.find(buffer_id);
  return found == leases_.end() ? nullptr : &found->second;
}

std::shared_ptr<Allocation> LeaseTable::Erase(std::uint64_t buffer_id) {
  const auto found = leases_.find(buffer_id);
  A8A_CHECK(found != leases_.end(), absl::StrCat("buffer ", buffer_id, " has no lease"));
  const BufferInfo& buffer = found->second.buffer;
  Remove(*FindDevice(buffer.device), buffer.size_bytes, buffer.session_id, {buffer.group_id, found->second.rank},
         found->second.uid);
  std::shared_ptr<Allocation> allocation = std::move(found->second.allocation);
  leases_.erase(found);
  return allocation;
}

Account LeaseTable::SessionAccount(std::uint64_t session_id) const {
  const auto found = sessions_.find(session_id);
  return found == sessions_.end() ? Account{} : found->second;
}

Account LeaseTable::RankAccount(std::uint64_t group_id, int rank) const {
  const auto found = ranks_.find({group_id, rank});
  return found == ranks_.end() ? Account{} : found->second;
}

Account LeaseTable::UidAccount(const PoolDevice& device, std::uint32_t uid) const {
  const auto found = device.uids.find(uid);
  return found == device.uids.end() ? Account{} : found->second;
}

std::int64_t LeaseTable::UidLeaseCount(std::uint32_t uid) const {
  std::int64_t count = 0;
  for (const PoolDevice& device : devices_) count += UidAccount(device, uid).lease_count;
  return count;
}

void LeaseTable::ForgetGroup(std::uint64_t group_id) {
  // Keys are (group, rank), in that order, so a group's accounts are one range.
  ranks_.erase(ranks_.lower_bound({group_id, -1}), ranks_.lower_bound({group_id + 1, -1}));
}

}  // namespace a8a::daemon
