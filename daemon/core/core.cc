#include "daemon/core/core.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "daemon/core/validation.h"
#include "kernels/base/check.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

constexpr absl::Duration kDrainTimeoutMax = absl::Hours(24);

class RealClock final : public Clock {
 public:
  [[nodiscard]] absl::Time Now() const override { return absl::Now(); }
};

bool Visible(const Caller& caller, std::uint32_t uid) { return caller.administrator || caller.identity.uid == uid; }

std::vector<DeviceSnapshot> SnapshotDevices(const LeaseTable& leases) {
  std::vector<DeviceSnapshot> snapshots;
  for (const PoolDevice& device : leases.devices()) {
    snapshots.push_back({.device = device.provider->device(),
                         .leased_bytes = device.account.bytes,
                         .leased_bytes_peak = device.account.bytes_peak,
                         .lease_count = device.account.lease_count});
  }
  return snapshots;
}

// Counters are read later, without the lock: `control` keeps them alive.
struct GroupToRead {
  GroupSnapshot snapshot;
  std::shared_ptr<ControlSegment> control;
  Traffic traffic_before;
};

GroupToRead SnapshotGroup(const Group& group, const LeaseTable& leases) {
  GroupToRead result;
  result.snapshot.group = group.Info();
  result.control = group.control;
  result.traffic_before = group.traffic_before;
  if (group.state == GroupState::kForming) return result;
  result.snapshot.control_bytes = static_cast<std::int64_t>(group.control_layout().size_bytes());
  for (const RankInfo& rank : result.snapshot.group.ranks) {
    const Account account = leases.RankAccount(group.group_id, rank.rank);
    RankSnapshot& snapshot = result.snapshot.ranks.emplace_back();
    snapshot.rank = rank.rank;
    snapshot.leased_bytes = account.bytes;
    snapshot.leased_bytes_peak = account.bytes_peak;
  }
  return result;
}

template <typename Operation>
void Combine(Traffic* traffic, const Traffic& other, Operation operation) {
  for (std::uint64_t Traffic::*field : {&Traffic::all_to_alls, &Traffic::prepares, &Traffic::rows_sent,
                                        &Traffic::bytes_sent, &Traffic::rows_received, &Traffic::bytes_received}) {
    traffic->*field = operation(traffic->*field, other.*field);
  }
  for (std::size_t i = 0; i < traffic->errors.size(); ++i) {
    traffic->errors[i] = operation(traffic->errors[i], other.errors[i]);
  }
}

}  // namespace

Traffic& Traffic::operator+=(const Traffic& other) {
  Combine(this, other, [](std::uint64_t a, std::uint64_t b) { return a + b; });
  return *this;
}

Traffic& Traffic::operator-=(const Traffic& other) {
  Combine(this, other, [](std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); });
  return *this;
}

const Clock* Clock::Real() {
  static const RealClock clock;
  return &clock;
}

Core::Core(CoreOptions options, std::vector<std::unique_ptr<MemoryProvider>> providers, const Clock* clock,
           EventLogger logger) {
  A8A_CHECK(!providers.empty(), "a core needs a memory provider");
  impl_ = std::make_unique<Impl>(options, std::move(providers), clock, std::move(logger));
}

Core::~Core() { EndEverything(); }

std::vector<DeviceInfo> Core::Devices() const {
  const MutexLock lock(&impl_->mutex);
  std::vector<DeviceInfo> devices;
  for (const PoolDevice& device : impl_->leases.devices()) devices.push_back(device.provider->device());
  return devices;
}

std::vector<DeviceSnapshot> Core::Pools() const {
  const MutexLock lock(&impl_->mutex);
  return SnapshotDevices(impl_->leases);
}

void Core::SaveAgain() {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  impl_->ChangedLocked(&after);
}

MemoryProvider* Core::Provider(absl::string_view device) const {
  const MutexLock lock(&impl_->mutex);
  const auto found = impl_->leases.FindDevice(device);
  return found.ok() ? (*found)->provider.get() : nullptr;
}

CoreSnapshot Core::Snapshot(const Caller& caller, std::uint64_t group_id) const {
  CoreSnapshot snapshot;
  std::vector<GroupToRead> groups;
  {
    const MutexLock lock(&impl_->mutex);
    snapshot.time = impl_->clock->Now();
    snapshot.draining = impl_->draining;
    snapshot.devices = SnapshotDevices(impl_->leases);
    for (const auto& [id, session] : impl_->sessions) {
      if (!Visible(caller, session.info.identity.uid)) continue;
      const Account account = impl_->leases.SessionAccount(id);
      snapshot.sessions.push_back({session.info, account.bytes, account.bytes_peak, account.lease_count});
    }
    for (const auto& [id, group] : impl_->groups) {
      if (group_id != 0 && id != group_id) continue;
      if (Visible(caller, group.uid)) groups.push_back(SnapshotGroup(group, impl_->leases));
    }
  }
  for (GroupToRead& group : groups) {
    // Null until a client has handed it back to a daemon that was restarted.
    if (group.control != nullptr) {
      for (RankSnapshot& rank : group.snapshot.ranks) group.control->ReadRank(rank.rank, &rank);
      group.snapshot.traffic = group.control->ReadTraffic();
      group.snapshot.traffic -= group.traffic_before;
    }
    snapshot.groups.push_back(std::move(group.snapshot));
  }
  const MutexLock lock(&impl_->mutex);
  snapshot.counters = impl_->counters;
  // What is gone by now is in counters.ended_groups, and must not count twice.
  for (GroupSnapshot& group : snapshot.groups) {
    if (!impl_->groups.contains(group.group.group_id)) group.traffic = {};
  }
  return snapshot;
}

absl::StatusOr<Core::Load> Core::Drain(const Caller& caller, absl::Duration timeout) {
  A8A_RETURN_IF_ERROR(CheckAdministrator(caller));
  if (timeout < absl::ZeroDuration() || timeout > kDrainTimeoutMax) {
    return absl::InvalidArgumentError(absl::StrCat("timeout is ", absl::FormatDuration(timeout), "; it must be in [0, ",
                                                   absl::FormatDuration(kDrainTimeoutMax), "]"));
  }
  impl_->BeginDrain(timeout);
  return load();
}

void Core::Impl::BeginDrain(absl::Duration timeout) {
  Deferred after;
  const MutexLock lock(&mutex);
  draining = true;
  drain_deadline = timeout > absl::ZeroDuration() ? clock->Now() + timeout : absl::InfiniteFuture();
  std::vector<Group*> forming;
  for (auto& [id, group] : groups) {
    // One that completes at this moment becomes ready, and is drained as such.
    if (group.state == GroupState::kForming && !group.completing) forming.push_back(&group);
  }
  const absl::Status status = absl::UnavailableError("the daemon is draining: the group cannot complete any more");
  for (Group* group : forming) DissolveLocked(group, status, &after);
  for (auto& [id, session] : sessions) {
    session.told_to_drain = true;
    SendLocked(id, DrainingEvent{timeout}, &after);
  }
  Log("draining", {{"timeout", absl::FormatDuration(timeout)}}, &after);
}

absl::Status Core::Undrain(const Caller& caller) {
  A8A_RETURN_IF_ERROR(CheckAdministrator(caller));
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  if (impl_->stopping) return absl::FailedPreconditionError("the daemon is stopping; start it again instead");
  if (!impl_->draining) return absl::OkStatus();
  impl_->draining = false;
  impl_->drain_deadline = absl::InfiniteFuture();
  for (const auto& [id, session] : impl_->sessions) impl_->SendLocked(id, UndrainedEvent{}, &after);
  impl_->Log("undrained", {}, &after);
  return absl::OkStatus();
}

absl::Duration Core::Impl::DrainTimeLeftLocked() const {
  if (drain_deadline == absl::InfiniteFuture()) return absl::ZeroDuration();
  return std::max(drain_deadline - clock->Now(), absl::Nanoseconds(1));
}

void Core::BeginStop(absl::Duration timeout) {
  {
    const MutexLock lock(&impl_->mutex);
    impl_->stopping = true;
  }
  impl_->BeginDrain(timeout);
}

void Core::Impl::EndAllGroupsLocked(Deferred* after) {
  std::vector<Group*> all;
  for (auto& [id, group] : groups) all.push_back(&group);
  const std::string why = DescribeEnd(EndReason::kDrained, -1);
  for (Group* group : all) {
    if (group->CanEnd(EndReason::kDrained)) {
      EndGroupLocked(group, EndReason::kDrained, -1, why, after);
    } else if (group->completing) {
      group->ended_while_completing = absl::UnavailableError(why);
    } else if (group->state == GroupState::kForming) {
      DissolveLocked(group, absl::UnavailableError(why), after);
    }
  }
}

void Core::Tick() {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  const absl::Time now = impl_->clock->Now();
  impl_->tickets.DropExpired(now);
  if (impl_->draining && now >= impl_->drain_deadline) impl_->EndAllGroupsLocked(&after);
  impl_->EndUnresumedLocked(now, &after);
}

bool Core::draining() const {
  const MutexLock lock(&impl_->mutex);
  return impl_->draining;
}

Core::Load Core::load() const {
  const MutexLock lock(&impl_->mutex);
  Load load;
  load.session_count = static_cast<int>(impl_->sessions.size());
  for (const auto& [id, group] : impl_->groups) {
    // One that ranks have begun to leave still runs for the others.
    if (group.state == GroupState::kForming || group.CanEnd(EndReason::kDrained)) ++load.group_count;
  }
  return load;
}

void Core::EndEverything() {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  impl_->EndAllGroupsLocked(&after);
  while (!impl_->sessions.empty()) {
    impl_->EndSessionLocked(impl_->sessions.begin()->first, EndReason::kDrained,
                            absl::UnavailableError("the daemon is stopping"), &after);
  }
}

}  // namespace a8a::daemon
