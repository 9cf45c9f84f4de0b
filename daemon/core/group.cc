#include "daemon/core/group.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

// More than 32 blocks move no more bytes on an H100 (tests/bench/kernel_bench.cc).
constexpr int kBlockCountMax = 32;
// Below the 108 multiprocessors of an A100, the fewest of the devices that a8a is for.
constexpr int kBlocksOfDevice = 104;

}  // namespace

std::string DescribeEnd(EndReason reason, int rank) {
  switch (reason) {
    case EndReason::kRankDied:
      return absl::StrCat("rank ", rank, " died");
    case EndReason::kAbortedByRank:
      return absl::StrCat("rank ", rank, " aborted it");
    case EndReason::kRankLeft:
      return absl::StrCat("rank ", rank, " left");
    case EndReason::kRevoked:
      return rank < 0 ? "an administrator revoked it"
                      : absl::StrCat("an administrator revoked the session of rank ", rank);
    case EndReason::kDrained:
      return "the daemon's drain timeout passed";
  }
  return "unknown reason";
}

int Group::BlockCount() const {
  if (device_kind == DeviceKind::kHost) return 0;
  std::map<const PoolDevice*, int> rank_counts;
  int most = 1;
  for (const auto& member : members) {
    if (member.has_value()) most = std::max(most, ++rank_counts[member->device]);
  }
  // Each rank's grid has one block more, which counts.
  return std::clamp(kBlocksOfDevice / most - 1, 1, kBlockCountMax);
}

int Group::member_count() const {
  return static_cast<int>(std::count_if(members.begin(), members.end(), [](const auto& m) { return m.has_value(); }));
}

std::optional<int> Group::RankOf(std::uint64_t session_id) const {
  for (int rank = 0; rank < options.world_size; ++rank) {
    const auto& member = members[static_cast<std::size_t>(rank)];
    if (member.has_value() && member->session_id == session_id) return rank;
  }
  return std::nullopt;
}

GroupInfo Group::Info() const {
  GroupInfo info;
  info.group_id = group_id;
  info.name = options.name;
  info.world_size = options.world_size;
  info.channel_count = options.channel_count;
  info.state = state;
  info.uid = uid;
  info.end_reason = end_reason;
  info.end_rank = end_rank;
  for (int rank = 0; rank < options.world_size; ++rank) {
    const auto& member = members[static_cast<std::size_t>(rank)];
    if (!member.has_value()) continue;
    info.ranks.push_back({.rank = rank,
                          .session_id = member->session_id,
                          .device = member->device->provider->device().name,
                          .pid = member->pid});
  }
  for (const auto& [index, window] : windows) {
    WindowInfo& window_info = info.windows.emplace_back();
    window_info.window_index = index;
    window_info.name = window.name;
    for (const auto& part : window.parts) window_info.size_bytes.push_back(part.has_value() ? part->size_bytes : 0);
  }
  return info;
}

bool Group::CanEnd(EndReason reason) const {
  if (state == GroupState::kReady) return true;
  return state == GroupState::kAborted && end_reason == EndReason::kRankLeft && reason != EndReason::kRankLeft;
}

bool Group::HasUserMemory() const {
  return std::any_of(windows.begin(), windows.end(), [](const auto& window) {
    const auto& parts = window.second.parts;
    return std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part->user_memory.has_value(); });
  });
}

absl::Status Group::EndedStatus() const {
  return absl::AbortedError(absl::StrCat("group ", group_id, " \"", options.name, "\" has ended: ", end_text));
}

std::optional<int> Group::FreeWindowIndex() const {
  for (int index = 0; index < kMaxWindows; ++index) {
    if (!windows.contains(index)) return index;
  }
  return std::nullopt;
}

}  // namespace a8a::daemon
