// The daemon's core: sessions, leases, tickets, groups and statistics. It knows neither sockets nor gRPC; services
// (daemon/*_service.h) translate, and the identity of a caller is established before it gets here.
//
// Rules it keeps:
//  - A session ends by goodbye, by the end of its process or by revocation, never because a stream broke.
//  - What a session holds is accounted to the byte, and goes back to the pool when the session ends.
//  - Memory of a lease is a fresh allocation and is never handed out twice; ids and generations are never reused.
//  - When a rank dies, leaves or is revoked, its leases are fenced (no new tickets), the group's abort word is written
//    and sleeping ranks are woken, and only then the survivors are told.
//
// Thread safety: every method may be called from any thread. Methods that reach a MemoryProvider (RegisterBuffer,
// JoinGroup, RegisterWindow and whatever ends leases) can take as long as it does; no lock is held meanwhile, and
// callers run them on an executor, not on a gRPC reaction. Callbacks and EventSinks are called without any lock held
// and must not block; they may call back into the core.
#ifndef A8A_DAEMON_CORE_CORE_H_
#define A8A_DAEMON_CORE_CORE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "daemon/memory/memory_provider.h"
#include "kernels/base/unique_fd.h"
#include "kernels/include/control_layout.h"

namespace a8a::daemon {

// Time, injected so that tests own it. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual absl::Time Now() const = 0;
  static const Clock* Real();
};

// A process, as the kernel names it. pid is 0 where it lies outside the daemon's PID namespace.
struct Identity {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int32_t pid = 0;
  // When it started, in clock ticks since the machine did, which tells it from a later process of the same pid; 0 where
  // it is not known. Of a session's process only.
  std::uint64_t start_ticks = 0;
};

// Who makes a call. Administrators see and end what belongs to any uid.
struct Caller {
  Identity identity;
  bool administrator = false;
};

class StateKeeper;
struct CoreState;
// What one uid may hold. All of it is counted from what the core's tables hold; see Core::Impl::CheckUid*.
struct UidLimits {
  int session_max = 512;
  int group_max = 128;
  int window_max = 4096;
  int buffer_max = 32768;
  // Of each device; 0: no limit but the device's own.
  std::int64_t device_bytes_max = 0;
  // Of the daemon's descriptors: a lease, a group's control segment and the handle of a session's process have one
  // each, and connections have what CoreOptions::connection_descriptors says.
  int descriptor_max = std::numeric_limits<int>::max();
};

// What may change while the core lives.
struct CorePolicy {
  UidLimits uid_limits = {};
  // Whether a window may lie on a rank's own memory.
  bool user_memory = false;
};

struct CoreOptions {
  int session_max = 1024;
  int group_max = 256;
  int buffer_max = 65536;
  // Outstanding tickets of one session: a join or window of 64 ranks needs 65.
  int ticket_max_per_session = 4096;
  absl::Duration ticket_lifetime = absl::Seconds(10);
  // Both are called under the core's lock, from any thread.
  std::function<CorePolicy()> policy = [] { return CorePolicy(); };
  std::function<int(std::uint32_t uid)> connection_descriptors = [](std::uint32_t /*uid*/) { return 0; };
  // Keeps the state, so that a later daemon can take it up; outlives the core. Null: the state ends with the core.
  StateKeeper* keeper = nullptr;
};

using EndReason = kernels::AbortReason;

struct BufferRevokedEvent {
  std::uint64_t buffer_id;
  std::uint64_t generation;
  EndReason reason;
};
struct GroupAbortedEvent {
  std::uint64_t group_id;
  EndReason reason;
  int rank;  // -1 where no rank is to blame
  std::string text;
};
struct DrainingEvent {
  absl::Duration timeout;  // zero: without limit
};
struct UndrainedEvent {};
// The session has ended; the sink closes its stream with this status. Always the last event.
struct SessionEndedEvent {
  absl::Status status;
};
using SessionEvent =
    std::variant<BufferRevokedEvent, GroupAbortedEvent, DrainingEvent, UndrainedEvent, SessionEndedEvent>;

// Where the events of a session go: its Attach stream.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Send(SessionEvent event) = 0;
};

struct SessionInfo {
  std::uint64_t session_id = 0;
  std::string client_name;
  Identity identity;
  bool stream_open = false;
  // It comes from an earlier daemon, and its client has yet to hand back what it holds.
  bool hands_back = false;
};

struct BufferInfo {
  std::uint64_t buffer_id = 0;
  std::uint64_t generation = 0;
  std::string device;
  std::int64_t size_bytes = 0;
  std::uint64_t session_id = 0;
  std::string name;
  std::uint64_t group_id = 0;  // 0: the session's own
};

struct TicketGrant {
  std::array<std::uint8_t, 16> value = {};
  std::int64_t size_bytes = 0;
};

// Device memory of a rank's own: the legacy IPC handle of its allocation, and where in it the memory begins.
struct UserMemory {
  std::string ipc_handle;
  std::int64_t offset_bytes = 0;
};

struct LeaseGrant {
  BufferInfo buffer;
  TicketGrant ticket;
  // If set, there is no lease: the buffer has no id, and no ticket is issued.
  std::optional<UserMemory> user_memory = std::nullopt;
};

enum class GroupState { kForming, kReady, kAborted };

struct RankInfo {
  int rank = 0;
  std::uint64_t session_id = 0;
  std::string device;
  std::int32_t pid = 0;
};

struct WindowInfo {
  int window_index = 0;
  std::string name;
  std::vector<std::int64_t> size_bytes;  // [r], r in [0, world_size)
};

struct GroupInfo {
  std::uint64_t group_id = 0;
  std::string name;
  int world_size = 0;
  int channel_count = 0;
  GroupState state = GroupState::kForming;
  std::vector<RankInfo> ranks;
  std::vector<WindowInfo> windows;
  std::uint32_t uid = 0;
  EndReason end_reason = EndReason::kRankDied;  // meaningful when state is kAborted
  int end_rank = -1;
};

struct JoinOptions {
  std::string name;
  int rank = 0;
  int world_size = 0;
  int channel_count = 0;
  std::string device;
  std::string secret;
};

struct JoinGrant {
  GroupInfo group;
  TicketGrant control;
  std::vector<LeaseGrant> flags;  // [r]
};

struct WindowOptions {
  std::string name;
  std::int64_t size_bytes = 0;
  std::optional<UserMemory> user_memory = std::nullopt;  // of this rank, instead of a lease
};

struct WindowGrant {
  int window_index = 0;
  std::vector<LeaseGrant> buffers;  // [r]
};

// A copy of one rank's counters; see kernels/include/control_layout.h.
struct ChannelSnapshot {
  int channel = 0;
  std::uint64_t epoch = 0;
  std::uint64_t all_to_alls = 0;
  std::uint64_t prepares = 0;
  std::uint64_t rows_sent = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t rows_received = 0;
  std::uint64_t bytes_received = 0;
  kernels::WaitCounters credit_wait = {};
  kernels::WaitCounters done_wait = {};
  std::array<std::uint64_t, kernels::kStatusCodeCount> errors = {};
};

struct RankSnapshot {
  int rank = 0;
  std::vector<ChannelSnapshot> channels;                         // those that were used
  std::vector<std::pair<int, kernels::WindowCounters>> windows;  // by window index
  std::int64_t leased_bytes = 0;
  std::int64_t leased_bytes_peak = 0;
};

// What ranks moved and how it ended, summed up.
struct Traffic {
  std::uint64_t all_to_alls = 0;
  std::uint64_t prepares = 0;
  std::uint64_t rows_sent = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t rows_received = 0;
  std::uint64_t bytes_received = 0;
  std::array<std::uint64_t, kernels::kStatusCodeCount> errors = {};

  Traffic& operator+=(const Traffic& other);
  // Not below zero: a rank can write what it likes into its own counters.
  Traffic& operator-=(const Traffic& other);
};

struct GroupSnapshot {
  GroupInfo group;
  std::vector<RankSnapshot> ranks;
  std::int64_t control_bytes = 0;
  // Of all ranks, those that have left too, since this daemon has the group.
  Traffic traffic;
};

// The limits that a request can meet, by the name of the option where there is one.
enum class Limit {
  kSessions,
  kGroups,
  kBuffers,
  kPool,
  kSessionsOfUid,
  kGroupsOfUid,
  kWindowsOfUid,
  kBuffersOfUid,
  kBytesOfUid,
  kDescriptorsOfUid,
};
inline constexpr std::array<absl::string_view, 10> kLimitNames = {"session_max",         "group_max",
                                                                  "buffer_max",          "pool",
                                                                  "session_max_per_uid", "group_max_per_uid",
                                                                  "window_max_per_uid",  "buffer_max_per_uid",
                                                                  "bytes_max_per_uid",   "descriptor_max_per_uid"};

// What has happened since the start of the daemon.
struct CoreCounters {
  std::uint64_t sessions_total = 0;
  std::uint64_t groups_total = 0;  // those that were completed
  std::uint64_t sessions_died_total = 0;
  std::uint64_t groups_dissolved_total = 0;  // before they were complete
  // By AbortReason. A group that ranks had begun to leave when it ended otherwise counts for both.
  std::array<std::uint64_t, 6> groups_ended_total = {};
  std::array<std::uint64_t, kLimitNames.size()> refusals_total = {};  // by Limit
  Traffic ended_groups;                                               // of groups that are gone
};

struct SessionSnapshot {
  SessionInfo session;
  std::int64_t leased_bytes = 0;
  std::int64_t leased_bytes_peak = 0;
  std::int64_t lease_count = 0;
};

struct DeviceSnapshot {
  DeviceInfo device;
  std::int64_t leased_bytes = 0;
  std::int64_t leased_bytes_peak = 0;
  std::int64_t lease_count = 0;
};

struct CoreSnapshot {
  absl::Time time;
  bool draining = false;
  CoreCounters counters;
  std::vector<DeviceSnapshot> devices;
  std::vector<SessionSnapshot> sessions;
  std::vector<GroupSnapshot> groups;
};

// A state change worth a log line, e.g. {"group_ready", {{"group", "7"}, {"ranks", "8"}}}.
struct CoreEvent {
  absl::string_view name;
  std::vector<std::pair<absl::string_view, std::string>> fields;
};
using EventLogger = std::function<void(const CoreEvent&)>;

using JoinCallback = std::function<void(absl::StatusOr<JoinGrant>)>;
using WindowCallback = std::function<void(absl::StatusOr<WindowGrant>)>;

// Error codes of all methods are those of the RPC of the same name (proto/a8a/v1). Validation happens here and only
// here.
class Core {
 public:
  // `providers` must not be empty and have distinct device names. `clock` outlives the core.
  Core(CoreOptions options, std::vector<std::unique_ptr<MemoryProvider>> providers, const Clock* clock,
       EventLogger logger);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  [[nodiscard]] std::vector<DeviceInfo> Devices() const;
  // What is leased of each device.
  [[nodiscard]] std::vector<DeviceSnapshot> Pools() const;
  // The provider of a device, for health probes; null if unknown. Lives as long as the core.
  [[nodiscard]] MemoryProvider* Provider(absl::string_view device) const;

  // --- Sessions ---
  // A new session of the calling process. The core keeps `sink` until the session ends or StreamClosed.
  [[nodiscard]] absl::StatusOr<SessionInfo> Attach(const Caller& caller, absl::string_view client_name,
                                                   std::shared_ptr<EventSink> sink);
  // Takes a session up again whose stream broke. `state_id` is that of the daemon that made the session; 0: not known.
  [[nodiscard]] absl::StatusOr<SessionInfo> Resume(const Caller& caller, std::uint64_t state_id,
                                                   std::uint64_t session_id, std::shared_ptr<EventSink> sink);
  // The stream behind `sink` is gone; the session lives on. Ignored if the session has another sink by now.
  void StreamClosed(std::uint64_t session_id, const EventSink* sink);
  // Goodbye: ends the session in an orderly way.
  [[nodiscard]] absl::Status Detach(const Caller& caller, std::uint64_t session_id);
  // The session's process has ended. Unknown sessions are ignored: it may have said goodbye before.
  void ProcessEnded(std::uint64_t session_id);
  // The session's process runs no more, but what it started on a device may still do so until it has ended. As
  // ProcessEnded, unless the session is in a group with a window on memory of the ranks' own: that may be used for
  // something else once the group has ended, while the pool's is not leased again before the last mapping is gone.
  void ProcessExiting(std::uint64_t session_id);

  // --- Restart (core_state.h) ---
  [[nodiscard]] CoreState Export() const;
  // The descriptors that somebody kept, by key. Those that were taken up are taken out.
  using KeptDescriptors = std::map<std::string, UniqueFd>;
  // Takes up what an earlier daemon has left; called first, on an empty core. Leases and groups whose descriptors were
  // not kept get them from the clients. Returns the sessions.
  //
  // Errors: INVALID_ARGUMENT (the state contradicts itself), FAILED_PRECONDITION (it needs a device that is not there);
  // the core is empty then.
  [[nodiscard]] absl::StatusOr<std::vector<SessionInfo>> Restore(const CoreState& state, KeptDescriptors* kept);
  // Nobody watches the session's process: if it is not resumed until `deadline`, it ends as if the process had.
  void ExpectResume(std::uint64_t session_id, absl::Time deadline);
  // A client hands back what it got from an earlier daemon: memory of its own lease, or the control segment of its
  // group. `fd` may be anything, and is taken if it is needed and right. May be repeated.
  //
  // Errors: NOT_FOUND and PERMISSION_DENIED as everywhere; FAILED_PRECONDITION (the session has nothing to hand back);
  // INVALID_ARGUMENT (`fd` is not what it should be).
  [[nodiscard]] absl::Status HandBackBuffer(const Identity& identity, std::uint64_t session_id, std::uint64_t buffer_id,
                                            std::uint64_t generation, UniqueFd* fd);
  [[nodiscard]] absl::Status HandBackControl(const Identity& identity, std::uint64_t session_id, std::uint64_t group_id,
                                             UniqueFd* fd);
  // The client has handed back all it holds. What it did not name it does not hold: an answer that granted it was lost,
  // or the call that released it. It ends.
  [[nodiscard]] absl::Status HandBackDone(const Identity& identity, std::uint64_t session_id);
  // Whether the session has something to hand back, for whoever must decide whether to take a descriptor.
  [[nodiscard]] bool HandsBack(const Identity& identity, std::uint64_t session_id) const;
  // For a daemon that hands over to the next: forgets everything and ends nothing. Calls that wait get UNAVAILABLE.
  void LetGo();
  [[nodiscard]] std::uint64_t state_id() const;
  // Has the keeper save the state though nothing has changed, because it could not before.
  void SaveAgain();

  // --- Buffers ---
  [[nodiscard]] absl::StatusOr<LeaseGrant> RegisterBuffer(const Caller& caller, std::uint64_t session_id,
                                                          absl::string_view device, std::int64_t size_bytes,
                                                          absl::string_view name);
  [[nodiscard]] absl::Status ReleaseBuffer(const Caller& caller, std::uint64_t session_id, std::uint64_t buffer_id,
                                           std::uint64_t generation);
  [[nodiscard]] absl::StatusOr<BufferInfo> GetBuffer(const Caller& caller, std::uint64_t session_id,
                                                     std::uint64_t buffer_id);
  // As GetBuffer, with a new ticket.
  [[nodiscard]] absl::StatusOr<LeaseGrant> IssueTicket(const Caller& caller, std::uint64_t session_id,
                                                       std::uint64_t buffer_id);
  // Up to `page_size` (0: 100) buffers with ids above `after_buffer_id`, in order.
  [[nodiscard]] absl::StatusOr<std::vector<BufferInfo>> ListBuffers(const Caller& caller, std::uint64_t after_buffer_id,
                                                                    int page_size) const;

  // Exchanges a ticket for a duplicate of the descriptor; the ticket is used up whatever comes of it, except when it is
  // presented by another session. For fd.sock.
  struct Redeemed {
    UniqueFd fd;
    std::int64_t size_bytes = 0;
  };
  [[nodiscard]] absl::StatusOr<Redeemed> RedeemTicket(const Identity& identity, std::uint64_t session_id,
                                                      absl::Span<const std::uint8_t> ticket);

  // --- Groups ---
  // `callback` is called exactly once: before this returns for errors that are known at once and for the last rank to
  // come, else from the call that ends the wait. Returns a number for CancelPending, 0 if nothing is pending.
  std::uint64_t JoinGroup(const Caller& caller, std::uint64_t session_id, const JoinOptions& options,
                          JoinCallback callback);
  std::uint64_t RegisterWindow(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id,
                               const WindowOptions& options, WindowCallback callback);
  // Takes a waiting join or window registration back; its callback gets `status`. Returns false if it is not pending
  // any more.
  bool CancelPending(std::uint64_t pending_id, const absl::Status& status);
  [[nodiscard]] absl::Status ReleaseWindow(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id,
                                           int window_index);
  [[nodiscard]] absl::Status AbortGroup(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id,
                                        absl::string_view message);
  [[nodiscard]] absl::Status LeaveGroup(const Caller& caller, std::uint64_t session_id, std::uint64_t group_id);
  [[nodiscard]] absl::StatusOr<GroupInfo> GetGroup(const Caller& caller, std::uint64_t group_id) const;
  [[nodiscard]] absl::StatusOr<std::vector<GroupInfo>> ListGroups(const Caller& caller, std::uint64_t after_group_id,
                                                                  int page_size) const;

  // OK if `uid` may have `count` of the daemon's descriptors more. RESOURCE_EXHAUSTED names its number and limit.
  [[nodiscard]] absl::Status CheckDescriptors(std::uint32_t uid, int count) const;

  // --- Statistics ---
  // Of the caller's uid, or of all for an administrator; of one group if group_id is not 0.
  [[nodiscard]] CoreSnapshot Snapshot(const Caller& caller, std::uint64_t group_id) const;

  // --- Administration ---
  struct Load {
    int group_count = 0;
    int session_count = 0;
  };
  // Refuses new sessions, groups and buffers from now on, and tells all sessions. When `timeout` is not zero, groups
  // that still exist when Tick is called after it has passed are ended.
  [[nodiscard]] absl::StatusOr<Load> Drain(const Caller& caller, absl::Duration timeout);
  [[nodiscard]] absl::Status Undrain(const Caller& caller);
  // Makes draining final: Undrain is FAILED_PRECONDITION from now on.
  void BeginStop(absl::Duration timeout);
  // Called now and then by the server: ends groups whose drain timeout has passed and drops tickets that have expired.
  void Tick();
  [[nodiscard]] bool draining() const;
  // Groups and sessions now, for the drain at shutdown.
  [[nodiscard]] Load load() const;
  // Ends every group with kDrained and every session with UNAVAILABLE; the last step of shutdown.
  void EndEverything();

  [[nodiscard]] absl::Status RevokeSession(const Caller& caller, std::uint64_t session_id);
  [[nodiscard]] absl::Status RevokeGroup(const Caller& caller, std::uint64_t group_id);
  [[nodiscard]] absl::Status RevokeBuffer(const Caller& caller, std::uint64_t buffer_id);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_CORE_H_
