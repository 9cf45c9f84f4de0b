// The core's state and its parts: sessions (core_sessions.cc), buffers (core_buffers.cc), groups (core_groups.cc),
// windows (core_windows.cc), restart (core_restore.cc), statistics and administration (core.cc). Only these include it.
//
// One lock guards all state. Methods named Locked need it; what must run without it goes to a Deferred.
#ifndef A8A_DAEMON_CORE_CORE_IMPL_H_
#define A8A_DAEMON_CORE_CORE_IMPL_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/core/core.h"
#include "daemon/core/core_state.h"
#include "daemon/core/deferred.h"
#include "daemon/core/group.h"
#include "daemon/core/lease_table.h"
#include "daemon/core/outbox.h"
#include "daemon/core/random_id.h"
#include "daemon/core/ticket_table.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

struct Session {
  SessionInfo info;
  std::shared_ptr<Outbox> outbox;  // null while the stream is broken
  // What a client that resumes may have missed, besides the ends of its groups.
  std::deque<BufferRevokedEvent> revoked;
  bool told_to_drain = false;
  absl::Time resume_by = absl::InfiniteFuture();
};

// A join or a window registration that waits for other ranks.
struct Pending {
  std::uint64_t group_id = 0;
  int rank = 0;
  std::string window_name;  // empty: a join
};

struct Core::Impl {
  using Fields = std::vector<std::pair<absl::string_view, std::string>>;

  Impl(CoreOptions core_options, std::vector<std::unique_ptr<MemoryProvider>> providers, const Clock* core_clock,
       EventLogger event_logger)
      : options(core_options),
        clock(core_clock),
        logger(std::move(event_logger)),
        tickets(options.ticket_max_per_session, options.ticket_lifetime),
        leases(options.buffer_max, std::move(providers), absl::ToUnixNanos(clock->Now())),
        state_id(RandomId()) {}

  // --- core_sessions.cc ---
  // NOT_FOUND or PERMISSION_DENIED: see "every call must come from the process of the session that it names".
  absl::StatusOr<Session*> FindSessionLocked(const Caller& caller, std::uint64_t session_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Takes the session and all that it holds away. `status` closes its stream, `reason` is what its groups get.
  void EndSessionLocked(std::uint64_t session_id, EndReason reason, const absl::Status& status, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // As EndSessionLocked, of a process that is dead; ignores unknown sessions. `event` is for the log.
  void EndDeadSessionLocked(std::uint64_t session_id, absl::string_view event, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void SendLocked(std::uint64_t session_id, SessionEvent event, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Sends again what the session's last stream may have lost.
  void CatchUpLocked(const Session& session, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // How long running groups may still go on; zero: without limit.
  absl::Duration DrainTimeLeftLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Log(absl::string_view name, Fields fields, Deferred* after);
  absl::Status CheckNotDrainingLocked(absl::string_view what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // --- quota.cc: RESOURCE_EXHAUSTED names the uid, what it holds and its limit ---
  // Counts a refusal, and returns it.
  absl::Status RefusedLocked(Limit limit, absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::Status CheckUidSessionsLocked(std::uint32_t uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::Status CheckUidGroupsLocked(std::uint32_t uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::Status CheckUidWindowsLocked(std::uint32_t uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::Status CheckUidDescriptorsLocked(std::uint32_t uid, int count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // For one thing more that holds a descriptor; counts a refusal.
  absl::Status TakeUidDescriptorLocked(std::uint32_t uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // As LeaseTable::Reserve, within the limits of the uid.
  absl::StatusOr<Reservation> ReserveForUidLocked(Reservation wanted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // --- core_buffers.cc ---
  // Allocates what was reserved, without the lock.
  static absl::StatusOr<std::shared_ptr<Allocation>> Allocate(const Reservation& reservation);
  TicketGrant IssueLocked(std::uint64_t session_id, const std::shared_ptr<Allocation>& allocation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Turns a reservation into a lease.
  const Lease& CommitLocked(const Reservation& reservation, std::shared_ptr<Allocation> allocation, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Ends a lease; its memory is dropped after the lock.
  void EraseLeaseLocked(std::uint64_t buffer_id, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::StatusOr<Lease*> FindLeaseLocked(const Caller& caller, std::uint64_t session_id, std::uint64_t buffer_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Several allocations that succeed or fail together. On error nothing stays reserved.
  struct Batch {
    std::vector<Reservation> reservations;
    std::vector<std::shared_ptr<Allocation>> allocations;
  };
  absl::Status ReserveLocked(std::vector<Reservation> wanted, Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  static absl::Status AllocateAll(Batch* batch);
  void UnreserveLocked(Batch* batch, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // --- core_groups.cc ---
  absl::StatusOr<Group*> AddMemberLocked(const Caller& caller, std::uint64_t session_id, const JoinOptions& join,
                                         JoinCallback callback, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::StatusOr<Group*> OpenGroupLocked(const Caller& caller, const JoinOptions& join, DeviceKind kind)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void CompleteJoin(std::uint64_t group_id);
  absl::Status MakeReadyLocked(Group* group, Batch* batch, std::shared_ptr<ControlSegment> control, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  JoinGrant GrantJoinLocked(const Group& group, std::uint64_t session_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::StatusOr<Group*> FindGroupOfRankLocked(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id,
                                               int* rank) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Ends a group that forms: every rank that waits gets `status`.
  void DissolveLocked(Group* group, const absl::Status& status, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Ends a complete group for its ranks, `rank` (which caused it) apart; it lives on until its last rank has left.
  // Does nothing if it has ended for a reason that is at least as strong.
  void EndGroupLocked(Group* group, EndReason reason, int rank, const std::string& text, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // A rank goes, for whatever reason. The group may be gone afterwards.
  void RemoveRankLocked(Group* group, int rank, EndReason reason, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void EraseGroupLocked(Group* group, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void FreeNameLocked(const Group& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void FailJoinLocked(Group* group, int rank, const absl::Status& status, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // --- core_windows.cc ---
  absl::StatusOr<GroupWindow*> AddPartLocked(Group* group, int rank, const WindowOptions& wanted,
                                             WindowCallback callback) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void CompleteWindow(std::uint64_t group_id, const std::string& name);
  // What the rank of `session_id` needs to map the part of rank `owner`.
  LeaseGrant GrantPartLocked(const Group& group, const GroupWindow& window, std::size_t owner, std::uint64_t session_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void GrantWindowLocked(Group* group, const std::string& name, Batch* batch, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void FailWindowLocked(Group* group, const std::string& name, const absl::Status& status, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void FailPartLocked(Group* group, const std::string& name, int rank, const absl::Status& status, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void FailFormingWindowsLocked(Group* group, const absl::Status& status, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Releases a rank's part. Frees the window's memory when no rank that is still there holds it.
  void ReleasePartLocked(Group* group, int window_index, int rank, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // --- core_restore.cc ---
  // The state is not what was saved: saves it before anybody is told.
  void ChangedLocked(Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void KeepLocked(std::string key, std::shared_ptr<Allocation> allocation, Deferred* after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void DropLocked(std::string key, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Save(std::uint64_t change) ABSL_LOCKS_EXCLUDED(mutex);
  [[nodiscard]] CoreState ExportLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void RestoreCountersLocked(const CoreState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  SessionInfo RestoreSessionLocked(const SessionState& from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void RestoreLeaseLocked(const LeaseState& lease, KeptDescriptors* kept) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void RestoreGroupLocked(const GroupRecord& record, KeptDescriptors* kept) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Gives a restored group its control segment, and does to it what could not be done without.
  void SetControlLocked(Group* group, std::shared_ptr<ControlSegment> control) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::Status CheckHandsBackLocked(const Identity& identity, std::uint64_t session_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Ends the sessions of which ExpectResume has come true.
  void EndUnresumedLocked(absl::Time now, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void FailPendingLocked(const absl::Status& status, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void LetGoLocked(Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Ends what the session's client does not hold.
  void DropUnclaimedLocked(std::uint64_t session_id, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void ReleaseUnclaimedLocked(const Lease& lease, Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // --- core.cc ---
  void BeginDrain(absl::Duration timeout);
  void EndAllGroupsLocked(Deferred* after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  const CoreOptions options;
  const Clock* const clock;
  const EventLogger logger;

  Mutex mutex;
  TicketTable tickets ABSL_GUARDED_BY(mutex);
  LeaseTable leases ABSL_GUARDED_BY(mutex);
  std::map<std::uint64_t, Session> sessions ABSL_GUARDED_BY(mutex);
  std::map<std::uint64_t, Group> groups ABSL_GUARDED_BY(mutex);
  // Names of groups that form or are ready, by uid.
  std::map<std::pair<std::uint32_t, std::string>, std::uint64_t> group_ids ABSL_GUARDED_BY(mutex);
  std::map<std::uint64_t, Pending> pending ABSL_GUARDED_BY(mutex);
  std::uint64_t next_session_id ABSL_GUARDED_BY(mutex) = 1;
  std::uint64_t next_group_id ABSL_GUARDED_BY(mutex) = 1;
  std::uint64_t next_pending_id ABSL_GUARDED_BY(mutex) = 1;
  CoreCounters counters ABSL_GUARDED_BY(mutex);
  std::uint64_t state_id ABSL_GUARDED_BY(mutex);
  std::uint64_t change_count ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t saved_change ABSL_GUARDED_BY(mutex) = 0;
  Mutex save_mutex ABSL_ACQUIRED_BEFORE(mutex);  // held while the keeper saves: one state after the other
  bool let_go ABSL_GUARDED_BY(mutex) = false;
  bool draining ABSL_GUARDED_BY(mutex) = false;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  absl::Time drain_deadline ABSL_GUARDED_BY(mutex) = absl::InfiniteFuture();
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_CORE_IMPL_H_
