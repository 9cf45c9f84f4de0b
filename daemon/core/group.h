// The state of one group, and what can be read off it. Plain data: the core's lock guards it, and core_groups.cc moves
// it from forming to ready to aborted.
#ifndef A8A_DAEMON_CORE_GROUP_H_
#define A8A_DAEMON_CORE_GROUP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/core/control_segment.h"
#include "daemon/core/core.h"
#include "daemon/core/lease_table.h"

namespace a8a::daemon {

// A rank that has joined and not left.
struct Member {
  std::uint64_t session_id = 0;
  std::int32_t pid = 0;
  PoolDevice* device = nullptr;
  std::uint64_t flags_buffer_id = 0;  // 0 until the group is ready
  bool claimed = true;                // as Lease::claimed
  // While the rank waits for the others.
  std::uint64_t pending_id = 0;
  JoinCallback callback;
};

// One rank's part of a window.
struct WindowPart {
  std::int64_t size_bytes = 0;            // asked for; once leased, the lease's
  std::uint64_t buffer_id = 0;            // 0 until leased and once released
  std::optional<UserMemory> user_memory;  // instead of a lease
  bool released = false;
  // While the rank waits for the others.
  std::uint64_t pending_id = 0;
  WindowCallback callback;
};

struct GroupWindow {
  std::string name;
  std::vector<std::optional<WindowPart>> parts;  // [r]
  bool completing = false;                       // its memory is being allocated, without the lock
};

struct Group {
  std::uint64_t group_id = 0;
  std::uint32_t uid = 0;
  JoinOptions options;  // of the rank that came first; rank and device are not the group's
  DeviceKind device_kind = DeviceKind::kHost;
  GroupState state = GroupState::kForming;
  bool completing = false;                     // all ranks have come; its memory is being allocated, without the lock
  absl::Status ended_while_completing;         // not OK: the ranks that wait get this
  std::vector<std::optional<Member>> members;  // [r]
  std::shared_ptr<ControlSegment> control;     // once ready; null again until handed back to a later daemon
  FileId control_file;
  Traffic traffic_before;  // what `control` said when this daemon got it
  std::map<std::string, GroupWindow> forming_windows;
  std::map<int, GroupWindow> windows;
  EndReason end_reason = EndReason::kRankDied;  // with end_rank, once aborted
  int end_rank = -1;
  std::string end_text;  // as DescribeEnd, with what the rank said that aborted it

  [[nodiscard]] int member_count() const;
  // Windows that exist or are on their way; each will need an index.
  [[nodiscard]] std::size_t window_count() const { return windows.size() + forming_windows.size(); }
  [[nodiscard]] std::optional<int> RankOf(std::uint64_t session_id) const;
  [[nodiscard]] GroupInfo Info() const;
  [[nodiscard]] kernels::ControlLayout control_layout() const {
    return {.world_size = options.world_size, .channel_count = options.channel_count};
  }
  // Whether `reason` ends this group: it is ready, or ranks have begun to leave it, while those that stay may still
  // run all-to-alls among each other. Any other end is final.
  [[nodiscard]] bool CanEnd(EndReason reason) const;
  // Whether a part of a window lies on memory of a rank's own.
  [[nodiscard]] bool HasUserMemory() const;
  // What a waiting or late call gets once the group has ended.
  [[nodiscard]] absl::Status EndedStatus() const;
  [[nodiscard]] std::optional<int> FreeWindowIndex() const;
  // GroupControl::block_count once all ranks have come: 0 on the host; on GPUs as many as run at once when every rank
  // has one all-to-all under way, however many ranks share a device.
  [[nodiscard]] int BlockCount() const;
};

// "rank 3 died", "an administrator revoked it", ...
[[nodiscard]] std::string DescribeEnd(EndReason reason, int rank);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_GROUP_H_
