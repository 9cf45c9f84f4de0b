#include "daemon/core/ticket_table.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/failpoint.h"
#include "kernels/base/check.h"

namespace a8a::daemon {
namespace {

void FillRandom(absl::Span<std::uint8_t> bytes) {
  ssize_t size = 0;
  do {
    size = A8A_FAILPOINT("ticket_table.getrandom", ::getrandom(bytes.data(), bytes.size(), 0));
  } while (size < 0 && errno == EINTR);
  // The pool is seeded long before a daemon runs, and up to 256 bytes are never cut short [getrandom(2)].
  A8A_CHECK(size == static_cast<ssize_t>(bytes.size()), "getrandom failed");
}

}  // namespace

absl::Status TicketTable::CheckRoom(std::uint64_t session_id, int count, absl::Time now) {
  const auto outstanding = [&] {
    const auto found = count_by_session_.find(session_id);
    return found == count_by_session_.end() ? 0 : found->second;
  };
  if (outstanding() + count > max_per_session_) DropExpired(now);
  if (outstanding() + count <= max_per_session_) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "session ", session_id, " has ", outstanding(), " outstanding tickets and wants ", count, " more; the limit is ",
      max_per_session_, ": redeem them, or let them expire after ", absl::FormatDuration(lifetime_)));
}

TicketGrant TicketTable::Issue(std::uint64_t session_id, const std::shared_ptr<Allocation>& allocation,
                               absl::Time now) {
  TicketGrant grant;
  grant.size_bytes = allocation->size_bytes();
  FillRandom(absl::MakeSpan(grant.value));
  tickets_[grant.value] = Ticket{session_id, allocation, now + lifetime_};
  ++count_by_session_[session_id];
  return grant;
}

absl::StatusOr<std::shared_ptr<Allocation>> TicketTable::Take(std::uint64_t session_id,
                                                              absl::Span<const std::uint8_t> value, absl::Time now) {
  const absl::Status none =
      absl::NotFoundError("no such ticket: never issued, already used, expired, or its lease ended");
  Value key = {};
  if (value.size() != key.size()) return none;
  std::copy(value.begin(), value.end(), key.begin());
  const auto found = tickets_.find(key);
  if (found == tickets_.end()) return none;
  if (found->second.session_id != session_id) {
    return absl::PermissionDeniedError(absl::StrCat("the ticket belongs to another session than ", session_id));
  }
  const bool expired = now >= found->second.expires;
  std::shared_ptr<Allocation> allocation = found->second.allocation.lock();
  Erase(found);
  if (expired || allocation == nullptr) return none;
  return allocation;
}

void TicketTable::Erase(Tickets::iterator ticket) {
  const auto count = count_by_session_.find(ticket->second.session_id);
  if (--count->second == 0) count_by_session_.erase(count);
  tickets_.erase(ticket);
}

void TicketTable::DropSession(std::uint64_t session_id) {
  if (!count_by_session_.contains(session_id)) return;
  absl::erase_if(tickets_, [&](const auto& ticket) { return ticket.second.session_id == session_id; });
  count_by_session_.erase(session_id);
}

void TicketTable::DropExpired(absl::Time now) {
  for (auto ticket = tickets_.begin(); ticket != tickets_.end();) {
    const auto next = std::next(ticket);
    if (now >= ticket->second.expires || ticket->second.allocation.expired()) Erase(ticket);
    ticket = next;
  }
}

}  // namespace a8a::daemon
