#include "client/examples/dp_mla/supervisor.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/tools/rank_processes.h"
#include "kernels/base/status_macros.h"

namespace a8a::dp_mla {
namespace {

using RankEnd = tools::RankProcesses::RankEnd;

constexpr absl::Duration kTick = absl::Milliseconds(100);
// For making and comparing the data of one all-to-all, on top of the timeouts of the calls in between.
constexpr absl::Duration kStallAllowance = absl::Seconds(30);

std::string At(const Job& job, const RankState& state) {
  switch (state.phase.load()) {
    case Phase::kStarting:
      return "before it attached";
    case Phase::kJoining:
      return "while it joined";
    case Phase::kDone:
      return "after its last step";
    case Phase::kRunning:
      break;
  }
  const Position at = job.PositionOf(state.progress);
  return absl::StrCat("in step ", at.step, ", layer ", at.layer, ", ", DirectionName(at.direction));
}

// The rank that has come least far. Nobody gets more than one all-to-all ahead of it.
int SlowestRank(const Job& job) {
  int slowest = 0;
  for (int rank = 1; rank < job.config().shape.world_size; ++rank) {
    if (job.rank(rank).progress < job.rank(slowest).progress) slowest = rank;
  }
  return slowest;
}

// Ends a run in which nothing moves any more. Every call of a rank has a timeout, so this is the net below the net.
class StallWatch {
 public:
  explicit StallWatch(const Job& job)
      : job_(job), limit_(2 * absl::Milliseconds(job.config().timeout_ms) + kStallAllowance), moved_at_(absl::Now()) {}

  absl::Status Check() {
    std::int64_t moves = 0;
    for (int rank = 0; rank < job_.config().shape.world_size; ++rank) {
      moves += job_.rank(rank).progress + static_cast<std::int64_t>(job_.rank(rank).phase.load());
    }
    const absl::Time now = absl::Now();
    if (moves != moves_) moved_at_ = now;
    moves_ = moves;
    if (now - moved_at_ < limit_) return absl::OkStatus();
    const int rank = SlowestRank(job_);
    return absl::DeadlineExceededError(absl::StrCat("nothing moved for ", absl::FormatDuration(limit_), "; rank ", rank,
                                                    " is behind, ", At(job_, job_.rank(rank))));
  }

 private:
  const Job& job_;
  const absl::Duration limit_;
  absl::Time moved_at_;
  std::int64_t moves_ = -1;
};

std::string ProgressText(const Job& job, absl::Time start) {
  const std::int64_t done = job.rank(SlowestRank(job)).progress;
  const std::int64_t all = job.all_to_all_count();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  if (done == 0) return absl::StrFormat("starting %d ranks, %.0f s", job.config().shape.world_size, seconds);
  const double left = seconds * static_cast<double>(all - done) / static_cast<double>(done);
  return absl::StrFormat("step %d of %d, %d of %d all-to-alls, every byte right so far, %.0f s, about %.0f s left",
                         job.PositionOf(std::min(done, all - 1)).step + 1, job.config().step_count, done, all, seconds,
                         left);
}

bool HasMismatch(const Job& job) {
  for (int rank = 0; rank < job.config().shape.world_size; ++rank) {
    if (job.rank(rank).differing_rows > 0) return true;
  }
  return false;
}

// How likely a rank's end is the reason for the others'. A rank that was killed comes first: its peers are told that
// it died, and end with ABORTED.
int Blame(const Job& job, const RankEnd& end) {
  const absl::string_view error = job.rank(end.rank).error;
  if (end.killed_by_signal()) return 3;
  if (error.empty()) return 2;
  return absl::StrContains(error, absl::StatusCodeToString(absl::StatusCode::kAborted)) ? 0 : 1;
}

absl::Status RankError(const Job& job, const std::vector<RankEnd>& failed) {
  const RankEnd& first = *std::max_element(
      failed.begin(), failed.end(), [&](const RankEnd& a, const RankEnd& b) { return Blame(job, a) < Blame(job, b); });
  const RankState& state = job.rank(first.rank);
  std::string text = absl::StrCat("rank ", first.rank, state.error[0] == '\0' ? " " : ": ");
  if (state.error[0] == '\0') {
    absl::StrAppend(&text, first.Describe(), " ", At(job, state));
  } else {
    absl::StrAppend(&text, state.error);
  }
  if (failed.size() > 1) absl::StrAppend(&text, " (", failed.size() - 1, " more ranks failed)");
  return absl::AbortedError(text);
}

// The ranks' own counts against the trace: a comparison that was left out must not pass as one that found nothing.
absl::Status CheckRowCounts(const Job& job) {
  const JobConfig& config = job.config();
  std::int64_t expected = 0;
  for (std::int64_t step = 0; step < config.step_count; ++step) {
    for (const std::int32_t tokens : job.tokens(step)) expected += tokens;
  }
  // Every token has one row for each head block, and there are world_size of those.
  expected *= std::int64_t{config.shape.world_size} * config.layer_count;
  for (const Direction direction : kDirections) {
    std::int64_t compared = 0;
    for (int rank = 0; rank < config.shape.world_size; ++rank) {
      compared += job.rank(rank).rows[static_cast<int>(direction)];
    }
    if (compared == expected) continue;
    return absl::InternalError(absl::StrCat("the ranks compared ", compared, " rows of ", DirectionName(direction),
                                            ", the trace makes ", expected));
  }
  return absl::OkStatus();
}

absl::Status StatusOf(const Job& job, const tools::RankProcesses::Outcome& outcome) {
  A8A_RETURN_IF_ERROR(outcome.stopped);
  const auto killed = [](const RankEnd& end) { return end.killed_by_signal(); };
  if (HasMismatch(job) && std::none_of(outcome.failed.begin(), outcome.failed.end(), killed)) return absl::OkStatus();
  if (!outcome.failed.empty()) return RankError(job, outcome.failed);
  return CheckRowCounts(job);
}

}  // namespace

RunOutcome RunJob(const Job& job, const std::vector<std::string>& launcher, tools::Progress* progress) {
  const absl::Time start = absl::Now();
  progress->Update(ProgressText(job, start));
  auto ranks = tools::RankProcesses::Start(
      {.role = "rank", .count = job.config().shape.world_size, .shared_fd = job.fd(), .launcher = launcher});
  if (!ranks.ok()) return {.status = ranks.status()};
  StallWatch stall(job);
  const tools::RankProcesses::Outcome outcome = (*ranks)->Supervise(kTick, [&] {
    progress->Update(ProgressText(job, start));
    return stall.Check();
  });
  if (outcome.interrupted_by != 0) return {.status = absl::OkStatus(), .interrupted_by = outcome.interrupted_by};
  return {.status = StatusOf(job, outcome)};
}

}  // namespace a8a::dp_mla
