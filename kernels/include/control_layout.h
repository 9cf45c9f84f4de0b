// The control segment of a group: counters and status that the ranks write and the daemon reads, and the abort word
// that the daemon writes and the ranks read.
//
// One host memfd per group, made by the daemon, mapped by it and by every rank (device kernels reach it through
// cudaHostRegister). Rank r writes only RankControl r; the one exception are doorbells, which peers and the daemon
// ring. All words are accessed atomically, relaxed unless stated; a reader may see counters one operation apart.
//
//   segment = GroupControl, rank[0] ... rank[world_size - 1], each
//     RankControl
//     ChannelControl channel[channel_count]
#ifndef A8A_KERNELS_INCLUDE_CONTROL_LAYOUT_H_
#define A8A_KERNELS_INCLUDE_CONTROL_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "kernels/include/flags_layout.h"
#include "kernels/include/limits.h"

namespace a8a::kernels {

// Bumped with every change to a layout in this folder; daemon and client refuse each other when it differs.
inline constexpr std::uint32_t kLayoutVersion = 1;
inline constexpr std::uint64_t kControlMagic = 0x6138612d6374726c;  // "a8a-ctrl"

// Canonical absl::StatusCode values are 0..16.
inline constexpr int kStatusCodeCount = 17;

// Why a group ended, as the abort word carries it. Equal to a8a.v1.EndReason.
enum class AbortReason : std::uint8_t {
  kRankDied = 1,
  kAbortedByRank = 2,
  kRankLeft = 3,
  kRevoked = 4,
  kDrained = 5,
};

// The abort word: 0 while the group lives; then bit 63, the reason in bits 16..23 and rank + 1 in bits 0..15 (0: no
// rank is to blame). Written once, by compare-and-swap from 0: the first reason stays.
constexpr std::uint64_t MakeAbortWord(AbortReason reason, int rank) {
  return std::uint64_t{1} << 63 | static_cast<std::uint64_t>(reason) << 16 | static_cast<std::uint64_t>(rank + 1);
}
constexpr AbortReason AbortWordReason(std::uint64_t word) { return static_cast<AbortReason>(word >> 16 & 0xff); }
constexpr int AbortWordRank(std::uint64_t word) { return static_cast<int>(word & 0xffff) - 1; }

struct alignas(4096) GroupControl {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::int32_t world_size;
  std::int32_t channel_count;
  std::int32_t block_count;  // as in FlagsLayout
  std::uint64_t group_id;
  alignas(64) std::uint64_t abort_word;
  // Bit r: rank r has left. Written by the daemon, by fetch_or with release, after the rank's last all-to-all; ranks
  // that wait for it end with ABORTED, those that need nothing more of it go on.
  std::uint64_t left_mask;
};

// As receiver, by window.
struct WindowCounters {
  std::uint64_t all_to_alls;
  std::uint64_t rows;
  std::uint64_t bytes;
  std::uint64_t reserved;
};

struct alignas(64) RankControl {
  WindowCounters windows[kMaxWindows];
};

// Where a host rank sleeps. `sequence` is a futex word; a waiter sets `sleeping`, passes a full fence, reads
// `sequence`, looks at its cells once more and sleeps on `sequence`; whoever publishes a cell for it looks at
// `sleeping` after a full fence and, if set, clears it, increments `sequence` and wakes. [Dekker's pattern: one of the
// two sees the other.] Clearing saves the others the system call; a waiter sets it anew before each sleep.
struct alignas(64) Doorbell {
  std::uint32_t sequence;
  std::uint32_t sleeping;
};

struct WaitCounters {
  std::uint64_t sum_ns;
  std::uint64_t counts[kWaitBucketCount];
};

// The first error since the owner last acknowledged: written while error_count == error_acknowledged, then error_count
// is incremented with release. Later errors only count. One all-to-all makes at most one error: that of the pair with
// the plainest cause (the group ended, then what a rank did wrong, then who did not come), then of the lowest peer.
struct ErrorRecord {
  std::uint64_t error_count;
  std::uint64_t error_acknowledged;
  std::uint64_t epoch;
  std::int64_t peer;  // -1: the fault is the group's end, or lies in this rank's own splits
  Fault fault;
  Operation operation;
  std::int64_t expected;
  std::int64_t actual;
  std::uint64_t abort_word;  // for Fault::kAborted
  // True (1) where this rank is the sender of the pair, 0 where it is the receiver; with peer -1, whether the fault
  // lies in its input or its output splits.
  std::uint64_t as_sender;
};

struct alignas(64) ChannelControl {
  Doorbell doorbell;
  alignas(64) ErrorRecord error;
  alignas(64) std::uint64_t epoch;  // copy of ChannelState::epoch for the daemon
  std::uint64_t all_to_alls;
  std::uint64_t prepares;
  std::uint64_t rows_sent;
  std::uint64_t bytes_sent;
  std::uint64_t rows_received;
  std::uint64_t bytes_received;
  WaitCounters credit_wait;
  WaitCounters done_wait;
  std::uint64_t errors[kStatusCodeCount];
};

// Offsets within a control segment, in bytes.
struct ControlLayout {
  int world_size;
  int channel_count;

  [[nodiscard]] constexpr std::size_t RankOffset(int rank) const {
    return sizeof(GroupControl) + rank_bytes() * static_cast<std::size_t>(rank);
  }
  [[nodiscard]] constexpr std::size_t ChannelOffset(int rank, int channel) const {
    return RankOffset(rank) + sizeof(RankControl) + sizeof(ChannelControl) * static_cast<std::size_t>(channel);
  }
  [[nodiscard]] constexpr std::size_t size_bytes() const { return RankOffset(world_size); }

 private:
  [[nodiscard]] constexpr std::size_t rank_bytes() const {
    return sizeof(RankControl) + sizeof(ChannelControl) * static_cast<std::size_t>(channel_count);
  }
};

}  // namespace a8a::kernels

#endif  // A8A_KERNELS_INCLUDE_CONTROL_LAYOUT_H_
