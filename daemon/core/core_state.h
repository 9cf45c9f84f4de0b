// What a daemon leaves to the next one, so that sessions, leases and groups outlive it: plain data without descriptors.
// The way there and back is Core::Export and Core::Restore (core_restore.cc); as bytes it is a snapshot
// (daemon/snapshot.h).
//
// Groups that form are not in it: the calls that wait for them end with the daemon.
#ifndef A8A_DAEMON_CORE_CORE_STATE_H_
#define A8A_DAEMON_CORE_CORE_STATE_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/core.h"
#include "daemon/memory/memory_provider.h"

namespace a8a::daemon {

struct SessionState {
  std::uint64_t session_id = 0;
  std::string client_name;
  Identity identity;
  bool told_to_drain = false;
  std::int64_t leased_bytes_peak = 0;
  std::deque<BufferRevokedEvent> revoked;
};

struct LeaseState {
  BufferInfo buffer;        // .device is the name that the device had; see device_uuid
  std::string device_uuid;  // names are given in the order of the bus and may change; empty for the host
  std::uint32_t uid = 0;
  int rank = -1;
  FileId file;
};

struct MemberState {
  int rank = 0;
  std::uint64_t session_id = 0;
  std::int32_t pid = 0;
  std::uint64_t flags_buffer_id = 0;
  std::int64_t leased_bytes_peak = 0;
};

struct WindowPartState {
  std::int64_t size_bytes = 0;
  std::uint64_t buffer_id = 0;
  std::optional<UserMemory> user_memory;
  bool released = false;
};

struct WindowState {
  int window_index = 0;
  std::string name;
  std::vector<WindowPartState> parts;  // [r]
};

// A group that is ready or has ended.
struct GroupRecord {
  std::uint64_t group_id = 0;
  std::uint32_t uid = 0;
  std::string name;
  int world_size = 0;
  int channel_count = 0;
  DeviceKind device_kind = DeviceKind::kHost;
  bool ended = false;
  EndReason end_reason = EndReason::kRankDied;  // with what follows, once ended
  int end_rank = -1;
  std::string end_text;
  std::vector<MemberState> members;  // of the ranks that are there
  std::vector<WindowState> windows;
  FileId control_file;
};

struct DeviceState {
  std::string name;
  std::string uuid;
  std::int64_t leased_bytes_peak = 0;
};

struct CoreState {
  // Random; the same for as long as the state is handed on. Ids of sessions mean nothing under another.
  std::uint64_t state_id = 0;
  std::uint64_t next_session_id = 1;
  std::uint64_t next_group_id = 1;
  std::uint64_t next_buffer_id = 1;
  std::uint64_t next_generation = 1;
  std::uint64_t sessions_total = 0;
  std::uint64_t groups_total = 0;
  std::uint64_t sessions_died_total = 0;
  std::vector<DeviceState> devices;
  std::vector<SessionState> sessions;
  std::vector<LeaseState> leases;
  std::vector<GroupRecord> groups;
};

// Keeps what must outlive the daemon. Thread-safe; called without any lock of the core; may block on a local file.
class StateKeeper {
 public:
  virtual ~StateKeeper() = default;
  // Replaces the state kept so far. Calls come one at a time, in the order of the states.
  virtual void Save(const CoreState& state) = 0;
  // Keeps a duplicate of a descriptor under a name (see BufferKey), for as long as the daemon does not drop it; does
  // nothing where nobody keeps descriptors. Before the Save of the state that has it.
  virtual void Keep(const std::string& key, int fd) = 0;
  virtual void Drop(const std::string& key) = 0;
};

// Keys of kept descriptors: of a lease's memory, of a group's control segment, of a session's process.
[[nodiscard]] std::string BufferKey(std::uint64_t buffer_id);
[[nodiscard]] std::string ControlKey(std::uint64_t group_id);
[[nodiscard]] std::string SessionKey(std::uint64_t session_id);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_CORE_STATE_H_
