// Tickets: single-use rights, bound to a session, to fetch the descriptor of one allocation.
//
// A ticket holds its allocation weakly: when the lease ends, the ticket is worth nothing. Not thread-safe: the core's
// lock guards it.
#ifndef A8A_DAEMON_CORE_TICKET_TABLE_H_
#define A8A_DAEMON_CORE_TICKET_TABLE_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "daemon/core/core.h"
#include "daemon/memory/memory_provider.h"

namespace a8a::daemon {

class TicketTable {
 public:
  TicketTable(int max_per_session, absl::Duration lifetime) : max_per_session_(max_per_session), lifetime_(lifetime) {}

  // OK if the session may have `count` tickets more. RESOURCE_EXHAUSTED names the limit.
  [[nodiscard]] absl::Status CheckRoom(std::uint64_t session_id, int count, absl::Time now);

  // Issues a ticket; the caller has checked the room.
  [[nodiscard]] TicketGrant Issue(std::uint64_t session_id, const std::shared_ptr<Allocation>& allocation,
                                  absl::Time now);

  // Uses a ticket up. NOT_FOUND (never issued, used, expired, or its lease has ended), PERMISSION_DENIED (of another
  // session; the ticket stays).
  [[nodiscard]] absl::StatusOr<std::shared_ptr<Allocation>> Take(std::uint64_t session_id,
                                                                 absl::Span<const std::uint8_t> value, absl::Time now);

  void DropSession(std::uint64_t session_id);
  void DropExpired(absl::Time now);

 private:
  using Value = std::array<std::uint8_t, 16>;
  struct Ticket {
    std::uint64_t session_id;
    std::weak_ptr<Allocation> allocation;
    absl::Time expires;
  };
  using Tickets = absl::flat_hash_map<Value, Ticket>;

  void Erase(Tickets::iterator ticket);

  const int max_per_session_;
  const absl::Duration lifetime_;
  Tickets tickets_;
  absl::flat_hash_map<std::uint64_t, int> count_by_session_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_TICKET_TABLE_H_
