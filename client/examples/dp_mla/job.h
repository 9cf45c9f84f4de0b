// One run of the main job, in memory that the parent shares with its rank processes: what to do, the token counts, and
// what came of it.
//
// The parent creates a Job and fills its config before the ranks start, and reads results when they have ended, except
// for `progress` and `phase`, which it may read at any time. Each rank writes its own RankState; all-to-all times are
// kept as the largest over the ranks, by atomic maximum, outside of what is timed.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_JOB_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_JOB_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/examples/dp_mla/oracle.h"
#include "client/examples/dp_mla/shape.h"
#include "client/examples/dp_mla/trace.h"
#include "client/tools/process_barrier.h"
#include "client/tools/shared_memory.h"

namespace a8a::dp_mla {

// All-to-alls of a run: each has one 8-byte time in shared memory. 61 layers of the whole trace are 244,000.
inline constexpr std::int64_t kMaxAllToAlls = 50'000'000;
// Longest runtime directory: sockets in it have at most 108 bytes.
inline constexpr std::size_t kMaxRuntimeDirBytes = 96;

enum class Mode : std::uint8_t {
  kPrepared,  // Prepare once a step for each direction, then all layers by plan
  kOneShot,   // splits exchanged anew by every all-to-all
};

// What the ranks must know. Plain data.
struct JobConfig {
  Shape shape;
  std::int64_t row_bytes[kDirectionCount] = {};
  std::int64_t step_count = 0;
  std::int32_t layer_count = 0;
  std::uint64_t seed = 0;
  Mode mode = Mode::kPrepared;
  // No barrier before each all-to-all: ranks run ahead of each other as in a server.
  bool free_running = false;
  std::int64_t timeout_ms = 0;  // of one all-to-all, and of joining
  // Fault injection, to test the comparison: one received byte of this rank is flipped in this step. -1: none.
  std::int64_t corrupt_step = -1;
  std::int32_t corrupt_rank = -1;
  char backend[8] = {};  // auto, host or cuda
  char runtime_dir[kMaxRuntimeDirBytes + 1] = {};
  char group_name[65] = {};
  char secret[65] = {};
};

enum class Phase : std::int32_t { kStarting, kJoining, kRunning, kDone };

// What one rank reports.
struct alignas(64) RankState {
  std::atomic<std::int64_t> progress;  // all-to-alls compared
  std::atomic<Phase> phase;
  std::int64_t rows[kDirectionCount];  // compared
  std::int64_t overhead_bytes;         // Group::overhead_bytes
  std::int64_t window_padding_bytes;   // of windows, beyond what was asked for
  std::int64_t differing_rows;
  Mismatch first_mismatch;  // if differing_rows > 0
  char error[1024];         // empty: none
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free && std::atomic<Phase>::is_always_lock_free);

// Where a rank is.
struct Position {
  std::int64_t step = 0;
  std::int32_t layer = 0;
  Direction direction = Direction::kTp2Dp;
};

class Job {
 public:
  // In the parent. `tokens` has at least config.step_count steps.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Job>> Create(const JobConfig& config, const TokenTable& tokens);
  // In a rank. Takes ownership of `fd`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Job>> Open(int fd);

  [[nodiscard]] int fd() const { return memory_->fd(); }
  [[nodiscard]] const JobConfig& config() const;
  [[nodiscard]] absl::Span<const std::int32_t> tokens(std::int64_t step) const;
  [[nodiscard]] RankState& rank(int rank) const;
  [[nodiscard]] tools::ProcessBarrier& barrier() const;
  // Set by a rank that found a difference in the all-to-all at `position`: no rank starts a later one. Ranks still run
  // that one to its end, so that nobody waits for a rank that has stopped.
  void StopAfter(const Position& position) const;
  [[nodiscard]] bool StoppedBefore(const Position& position) const;

  [[nodiscard]] std::int64_t all_to_all_count() const;
  // Position of the all-to-all that comes after `progress` others.
  [[nodiscard]] Position PositionOf(std::int64_t progress) const;
  [[nodiscard]] std::int64_t ProgressAt(const Position& position) const;

  // Raises the time of one all-to-all, or of the Prepare of its step and direction, to `ns` if that is more.
  void RecordAllToAll(const Position& position, std::int64_t ns) const;
  void RecordPrepare(const Position& position, std::int64_t ns) const;
  // Times of all those that ended on at least one rank.
  [[nodiscard]] std::vector<std::int64_t> AllToAllTimes(Direction direction) const;
  [[nodiscard]] std::vector<std::int64_t> PrepareTimes() const;

 private:
  struct Header;
  explicit Job(std::unique_ptr<tools::SharedMemory> memory) : memory_(std::move(memory)) {}
  [[nodiscard]] Header* header() const;
  [[nodiscard]] std::atomic<std::int64_t>* all_to_all_ns() const;
  [[nodiscard]] std::atomic<std::int64_t>* prepare_ns() const;

  const std::unique_ptr<tools::SharedMemory> memory_;
};

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_JOB_H_
