// Leases of single buffers, and the tickets with which their descriptors are fetched.
//
// Memory is allocated without the lock, which can take long: it is reserved against the pool's limit first, so that two
// callers cannot both get the last of it, and leased, or given back, under the lock again.
#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "daemon/core/validation.h"
#include "daemon/failpoint.h"
#include "daemon/memory/shared_memory.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

// Revoked leases that a client is told of again when it resumes: an operator revokes a few, by hand.
constexpr std::size_t kRevokedMax = 256;

absl::Status NoBuffer(std::uint64_t buffer_id) {
  return absl::NotFoundError(absl::StrCat("no buffer ", buffer_id, ": it never was, or its lease has ended"));
}

absl::Status CheckDeviceName(absl::string_view device) {
  if (!device.empty()) return CheckText("device", device, kMaxNameBytes, Emptiness::kRefused);
  return absl::InvalidArgumentError("device is empty; name one, such as \"host\" or \"cuda:0\"");
}

}  // namespace

absl::StatusOr<std::shared_ptr<Allocation>> Core::Impl::Allocate(const Reservation& reservation) {
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<Allocation> allocation,
                       reservation.device->provider->Allocate(reservation.size_bytes, reservation.name));
  return allocation;
}

absl::Status Core::Impl::ReserveLocked(std::vector<Reservation> wanted, Batch* batch) {
  for (Reservation& one : wanted) {
    absl::StatusOr<Reservation> reserved = ReserveForUidLocked(std::move(one));
    if (!reserved.ok()) {
      for (const Reservation& reservation : batch->reservations) leases.Unreserve(reservation);
      batch->reservations.clear();
      return reserved.status();
    }
    batch->reservations.push_back(*std::move(reserved));
  }
  return absl::OkStatus();
}

absl::Status Core::Impl::AllocateAll(Batch* batch) {
  for (const Reservation& reservation : batch->reservations) {
    A8A_ASSIGN_OR_RETURN(std::shared_ptr<Allocation> allocation, Allocate(reservation));
    batch->allocations.push_back(std::move(allocation));
  }
  return absl::OkStatus();
}

void Core::Impl::UnreserveLocked(Batch* batch, Deferred* after) {
  for (const Reservation& reservation : batch->reservations) leases.Unreserve(reservation);
  for (std::shared_ptr<Allocation>& allocation : batch->allocations) after->Drop(std::move(allocation));
  *batch = {};
}

TicketGrant Core::Impl::IssueLocked(std::uint64_t session_id, const std::shared_ptr<Allocation>& allocation) {
  return tickets.Issue(session_id, allocation, clock->Now());
}

void Core::Impl::EraseLeaseLocked(std::uint64_t buffer_id, Deferred* after) {
  after->Drop(leases.Erase(buffer_id));
  DropLocked(BufferKey(buffer_id), after);
  ChangedLocked(after);
}

const Lease& Core::Impl::CommitLocked(const Reservation& reservation, std::shared_ptr<Allocation> allocation,
                                      Deferred* after) {
  const Lease& lease = leases.Commit(reservation, std::move(allocation));
  KeepLocked(BufferKey(lease.buffer.buffer_id), lease.allocation, after);
  ChangedLocked(after);
  return lease;
}

absl::StatusOr<Lease*> Core::Impl::FindLeaseLocked(const Caller& caller, std::uint64_t session_id,
                                                   std::uint64_t buffer_id) {
  A8A_RETURN_IF_ERROR(FindSessionLocked(caller, session_id).status());
  Lease* lease = leases.Find(buffer_id);
  if (lease == nullptr) return NoBuffer(buffer_id);
  if (lease->buffer.session_id == session_id) return lease;
  const auto group = groups.find(lease->buffer.group_id);
  if (group != groups.end() && group->second.RankOf(session_id).has_value()) return lease;
  return absl::PermissionDeniedError(absl::StrCat("session ", session_id, " has no right to buffer ", buffer_id,
                                                  ", which belongs to another session"));
}

absl::StatusOr<LeaseGrant> Core::RegisterBuffer(const Caller& caller, std::uint64_t session_id,
                                                absl::string_view device, std::int64_t size_bytes,
                                                absl::string_view name) {
  A8A_RETURN_IF_ERROR(CheckText("name", name, kMaxNameBytes, Emptiness::kAllowed));
  A8A_RETURN_IF_ERROR(CheckRange("size_bytes", size_bytes, 1, kMaxBufferBytes));
  A8A_RETURN_IF_ERROR(CheckDeviceName(device));
  Reservation reservation;
  {
    const MutexLock lock(&impl_->mutex);
    A8A_RETURN_IF_ERROR(impl_->FindSessionLocked(caller, session_id).status());
    A8A_RETURN_IF_ERROR(impl_->CheckNotDrainingLocked("buffers"));
    A8A_RETURN_IF_ERROR(impl_->tickets.CheckRoom(session_id, 1, impl_->clock->Now()));
    A8A_ASSIGN_OR_RETURN(PoolDevice* const pool_device, impl_->leases.FindDevice(device));
    A8A_ASSIGN_OR_RETURN(reservation, impl_->ReserveForUidLocked({.device = pool_device,
                                                                  .size_bytes = size_bytes,
                                                                  .session_id = session_id,
                                                                  .name = std::string(name),
                                                                  .uid = caller.identity.uid}));
  }
  absl::StatusOr<std::shared_ptr<Allocation>> allocation = Impl::Allocate(reservation);
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  // The session may have ended while the lock was free.
  const absl::Status session_status = impl_->FindSessionLocked(caller, session_id).status();
  if (!allocation.ok() || !session_status.ok()) {
    impl_->leases.Unreserve(reservation);
    if (!allocation.ok()) return allocation.status();
    after.Drop(*std::move(allocation));
    return session_status;
  }
  const Lease& lease = impl_->CommitLocked(reservation, *std::move(allocation), &after);
  impl_->Log("buffer_leased",
             {{"buffer", absl::StrCat(lease.buffer.buffer_id)},
              {"session", absl::StrCat(session_id)},
              {"device", lease.buffer.device},
              {"size_bytes", absl::StrCat(lease.buffer.size_bytes)}},
             &after);
  return LeaseGrant{lease.buffer, impl_->IssueLocked(session_id, lease.allocation)};
}

absl::Status Core::ReleaseBuffer(const Caller& caller, std::uint64_t session_id, std::uint64_t buffer_id,
                                 std::uint64_t generation) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  A8A_RETURN_IF_ERROR(impl_->FindSessionLocked(caller, session_id).status());
  const Lease* lease = impl_->leases.Find(buffer_id);
  if (lease == nullptr) return NoBuffer(buffer_id);
  if (lease->buffer.session_id != session_id) {
    return absl::PermissionDeniedError(
        absl::StrCat("buffer ", buffer_id, " is leased to another session than ", session_id));
  }
  if (lease->buffer.group_id != 0) {
    return absl::FailedPreconditionError(absl::StrCat("buffer ", buffer_id, " serves group ", lease->buffer.group_id,
                                                      "; release the window or leave the group"));
  }
  // A late release of an earlier lease must not end this one.
  if (lease->buffer.generation != generation) {
    return absl::NotFoundError(absl::StrCat("buffer ", buffer_id, " has no lease of generation ", generation,
                                            "; its lease's is ", lease->buffer.generation));
  }
  impl_->EraseLeaseLocked(buffer_id, &after);
  impl_->Log("buffer_released", {{"buffer", absl::StrCat(buffer_id)}, {"session", absl::StrCat(session_id)}}, &after);
  return absl::OkStatus();
}

absl::StatusOr<BufferInfo> Core::GetBuffer(const Caller& caller, std::uint64_t session_id, std::uint64_t buffer_id) {
  const MutexLock lock(&impl_->mutex);
  A8A_ASSIGN_OR_RETURN(const Lease* lease, impl_->FindLeaseLocked(caller, session_id, buffer_id));
  return lease->buffer;
}

absl::StatusOr<LeaseGrant> Core::IssueTicket(const Caller& caller, std::uint64_t session_id, std::uint64_t buffer_id) {
  const MutexLock lock(&impl_->mutex);
  A8A_ASSIGN_OR_RETURN(const Lease* lease, impl_->FindLeaseLocked(caller, session_id, buffer_id));
  A8A_RETURN_IF_ERROR(impl_->tickets.CheckRoom(session_id, 1, impl_->clock->Now()));
  if (lease->allocation == nullptr) {
    return absl::UnavailableError(absl::StrCat("buffer ", buffer_id, ": the daemon has restarted, and session ",
                                               lease->buffer.session_id, " has yet to hand its descriptor back"));
  }
  return LeaseGrant{lease->buffer, impl_->IssueLocked(session_id, lease->allocation)};
}

absl::StatusOr<std::vector<BufferInfo>> Core::ListBuffers(const Caller& caller, std::uint64_t after_buffer_id,
                                                          int page_size) const {
  A8A_ASSIGN_OR_RETURN(const int count_max, CheckPageSize(page_size));
  const MutexLock lock(&impl_->mutex);
  std::vector<BufferInfo> buffers;
  const auto& leases = impl_->leases.leases();
  for (auto it = leases.upper_bound(after_buffer_id);
       it != leases.end() && buffers.size() < static_cast<std::size_t>(count_max); ++it) {
    if (caller.administrator || it->second.uid == caller.identity.uid) buffers.push_back(it->second.buffer);
  }
  return buffers;
}

absl::StatusOr<Core::Redeemed> Core::RedeemTicket(const Identity& identity, std::uint64_t session_id,
                                                  absl::Span<const std::uint8_t> ticket) {
  std::shared_ptr<Allocation> allocation;
  {
    const MutexLock lock(&impl_->mutex);
    const auto session = impl_->FindSessionLocked(Caller{.identity = identity, .administrator = false}, session_id);
    if (!session.ok()) return session.status();
    absl::StatusOr<std::shared_ptr<Allocation>> taken = impl_->tickets.Take(session_id, ticket, impl_->clock->Now());
    // A client hands back only when it has no call under way: its ticket is of the daemon before.
    if (absl::IsNotFound(taken.status()) && (*session)->info.hands_back) {
      return absl::UnavailableError("the daemon was restarted after it had issued the ticket; try the call again");
    }
    if (!taken.ok()) return taken.status();
    allocation = *std::move(taken);
  }
  // Without the lock, held by the allocation alone: a lease that ends now closes its own descriptor, not this one.
  UniqueFd fd(A8A_FAILPOINT("core_buffers.dup", ::fcntl(allocation->fd(), F_DUPFD_CLOEXEC, 0)));
  if (!fd.valid()) return MemoryErrnoToStatus(errno, "duplicating the buffer's descriptor");
  return Redeemed{std::move(fd), allocation->size_bytes()};
}

absl::Status Core::RevokeBuffer(const Caller& caller, std::uint64_t buffer_id) {
  A8A_RETURN_IF_ERROR(CheckAdministrator(caller));
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  const Lease* lease = impl_->leases.Find(buffer_id);
  if (lease == nullptr) return NoBuffer(buffer_id);
  if (lease->buffer.group_id != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("buffer ", buffer_id, " serves group ", lease->buffer.group_id, "; revoke the group"));
  }
  const BufferInfo buffer = lease->buffer;
  const BufferRevokedEvent event = {buffer.buffer_id, buffer.generation, EndReason::kRevoked};
  impl_->EraseLeaseLocked(buffer_id, &after);
  std::deque<BufferRevokedEvent>& revoked = impl_->sessions.at(buffer.session_id).revoked;
  revoked.push_back(event);
  if (revoked.size() > kRevokedMax) revoked.pop_front();
  impl_->SendLocked(buffer.session_id, event, &after);
  impl_->Log("buffer_revoked", {{"buffer", absl::StrCat(buffer_id)}, {"session", absl::StrCat(buffer.session_id)}},
             &after);
  return absl::OkStatus();
}

}  // namespace a8a::daemon
