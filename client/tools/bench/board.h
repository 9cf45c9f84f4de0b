// What the parent of a control-plane benchmark shares with its child processes: one Board for each measurement.
//
// A measurement is made by `child_count` children that keep step through `barrier`. Each writes its own cells; the
// parent reads results when all have ended, and `progress` at any time.
#ifndef A8A_CLIENT_TOOLS_BENCH_BOARD_H_
#define A8A_CLIENT_TOOLS_BENCH_BOARD_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "client/tools/process_barrier.h"
#include "kernels/include/limits.h"

namespace a8a::bench {

// Ranks, and the one that asks for statistics.
inline constexpr int kMaxChildren = kMaxWorldSize + 1;
// Samples of one kind; a measurement ends when they are full.
inline constexpr std::int64_t kMaxSamples = 20'000;
// Longest runtime directory: sockets in it have at most 108 bytes.
inline constexpr std::size_t kMaxRuntimeDirBytes = 96;

// What was asked for. Plain data.
struct ControlConfig {
  char runtime_dir[kMaxRuntimeDirBytes + 1] = {};
  char tag[33] = {};  // starts the name of every group of this run
  int rank_count = 8;
  std::int64_t window_bytes = 64 << 20;
  int session_count = 200;
  int group_count = 64;
  int seconds = 5;  // for each measurement
};

// Nanoseconds of the monotonic clock, which all processes share.
inline std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Durations of one kind, written by one child.
struct SampleLog {
  std::int64_t count;
  std::int64_t ns[kMaxSamples];

  [[nodiscard]] bool full() const { return count == kMaxSamples; }
  void Add(std::int64_t duration_ns) {
    if (!full()) ns[count++] = duration_ns;
  }
  // Without the first `warm_up`, or everything if there are no more than that.
  [[nodiscard]] std::vector<std::int64_t> After(std::int64_t warm_up) const {
    return {ns + (count > warm_up ? warm_up : 0), ns + count};
  }
};

// When the ranks of one start-up were how far: first and last over the ranks.
struct StartTimes {
  std::int64_t first_begin_ns;
  std::int64_t last_attached_ns;
  std::int64_t last_joined_ns;
  std::int64_t last_window_ns;
};

struct Board {
  ControlConfig config;
  tools::ProcessBarrier barrier;       // all children
  std::atomic<std::int64_t> progress;  // repeats
  std::atomic<bool> stop;              // rank 0: the last repeat is over

  // Group start: milestones of every rank in the repeat that runs, and of each repeat over the ranks.
  StartTimes rank_times[kMaxChildren];
  std::int64_t start_count;
  StartTimes starts[kMaxSamples];

  // Attach and GetStats.
  SampleLog attach;
  SampleLog connect;
  SampleLog get_stats;
  std::int64_t resident_bytes_before;
  std::int64_t resident_bytes;
  std::int64_t sessions_seen;
  std::int64_t groups_seen;

  char errors[kMaxChildren][512];  // by child; empty: none
};

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_BOARD_H_
