// What the parent of `a8a-bench flood` shares with its child processes: one FloodBoard for each kind of flood.
#ifndef A8A_CLIENT_TOOLS_BENCH_FLOOD_BOARD_H_
#define A8A_CLIENT_TOOLS_BENCH_FLOOD_BOARD_H_

#include <atomic>
#include <cstdint>

#include "client/tools/bench/board.h"

namespace a8a::bench {

struct FloodKind {
  const char* name;
  const char* description;
};

inline constexpr FloodKind kFloodKinds[] = {
    {"connects", "connect and close, on both sockets"},
    {"idle", "connections that say nothing, on both sockets"},
    {"descriptors", "connections while the daemon has no descriptor left (EMFILE)"},
    {"slow", "first bytes one at a time, and Attach streams that never say hello"},
    {"malformed", "bytes that are no HTTP/2, oversized requests and metadata, bad messages on fd.sock"},
    {"junk-descriptors", "requests on fd.sock with 253 descriptors each"},
    {"requests", "calls without pause, many at once"},
    {"hoard", "sessions, buffers, groups and windows until refused"},
};
inline constexpr int kFloodKindCount = sizeof(kFloodKinds) / sizeof(kFloodKinds[0]);
enum FloodKindIndex { kConnects, kIdle, kDescriptors, kSlow, kMalformed, kJunkDescriptors, kRequests, kHoard };

// A process that floods, and the one that asks for statistics meanwhile.
inline constexpr int kFlooderCount = 2;
inline constexpr int kFloodChildren = kFlooderCount + 1;

// Plain data.
struct FloodConfig {
  char runtime_dir[kMaxRuntimeDirBytes + 1] = {};
  char tag[33] = {};
  int kind = 0;
  int milliseconds = 3000;      // of each phase
  int connects = 10'000;        // at least, of "connects"
  int idle_connections = 1000;  // on each socket
  std::uint32_t flood_uid = 54321;
  std::uint32_t other_uid = 54322;
};

// kFarewell: the flood and its traces are over; every child joins a group once, as anybody would.
enum FloodPhase { kStarting, kBefore, kDuring, kAfter, kFarewell };
inline constexpr int kMeasuredPhases = 3;

struct FloodBoard {
  FloodConfig config;
  std::atomic<int> phase;
  std::atomic<int> ready;    // children that can begin
  std::atomic<int> flooded;  // flooders that have done what they must

  // GetStats of the other uid, by phase from kBefore on.
  SampleLog get_stats[kMeasuredPhases];
  std::int64_t failures[kMeasuredPhases];
  std::int64_t daemon_pid;

  // What the flood did and got.
  std::atomic<std::int64_t> connects;
  std::atomic<std::int64_t> closed;     // connections that the daemon closed
  std::atomic<std::int64_t> codes[17];  // answers, by canonical code
  std::atomic<int> joined;              // children whose join at the end worked

  // Written by the parent.
  int descriptors_before;
  int descriptors_max;
  int descriptors_after;
  std::int64_t resident_bytes_before;
  std::int64_t resident_bytes_max;
  std::int64_t recovered_ms;  // from the end of the flood until the daemon has as many descriptors as before; -1: never

  char errors[kFloodChildren][512];  // by child; empty: none

  [[nodiscard]] bool In(FloodPhase wanted) const { return phase == wanted; }
};

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_FLOOD_BOARD_H_
