#include "client/tools/bench/control.h"

#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/tools/bench/control_roles.h"
#include "client/tools/rank_processes.h"
#include "client/tools/shared_memory.h"
#include "kernels/base/status_macros.h"

namespace a8a::bench {
namespace {

constexpr absl::Duration kControlTick = absl::Milliseconds(100);
// Over the time that a measurement is meant to take; every call in it gives up earlier.
constexpr absl::Duration kControlLateness = absl::Seconds(90);

// One measurement: a board, and the children that fill it.
class Measurement {
 public:
  static absl::StatusOr<std::unique_ptr<Measurement>> Create(const ControlConfig& config, int child_count) {
    A8A_ASSIGN_OR_RETURN(auto memory, tools::SharedMemory::Create(sizeof(Board)));
    std::unique_ptr<Measurement> measurement(new Measurement(std::move(memory), child_count));
    measurement->board().config = config;
    A8A_RETURN_IF_ERROR(measurement->board().barrier.Init(child_count));
    return measurement;
  }

  [[nodiscard]] Board& board() const { return *reinterpret_cast<Board*>(memory_->data()); }

  // Returns the signal that interrupted it, or 0.
  absl::StatusOr<int> Run(const std::string& role, absl::string_view name, tools::Progress* progress) {
    A8A_ASSIGN_OR_RETURN(const auto children, tools::RankProcesses::Start(
                                                  {.role = role, .count = child_count_, .shared_fd = memory_->fd()}));
    const absl::Time start = absl::Now();
    const auto outcome = children->Supervise(kControlTick, [&]() -> absl::Status {
      const absl::Duration elapsed = absl::Now() - start;
      progress->Update(absl::StrCat(name, ": ", board().progress.load(), " repeats, ", absl::ToInt64Seconds(elapsed),
                                    " of about ", board().config.seconds, " s"));
      if (elapsed < absl::Seconds(board().config.seconds) + kControlLateness) return absl::OkStatus();
      return absl::DeadlineExceededError(absl::StrCat(name, " did not end within ", absl::FormatDuration(elapsed)));
    });
    if (outcome.interrupted_by != 0) return outcome.interrupted_by;
    A8A_RETURN_IF_ERROR(outcome.stopped);
    if (!outcome.failed.empty()) return ErrorOf(outcome.failed, name);
    return 0;
  }

 private:
  Measurement(std::unique_ptr<tools::SharedMemory> memory, int child_count)
      : memory_(std::move(memory)), child_count_(child_count) {
    new (memory_->data()) Board();  // zeroed memory is right for what has no default
  }

  [[nodiscard]] absl::Status ErrorOf(const std::vector<tools::RankProcesses::RankEnd>& failed,
                                     absl::string_view name) const {
    for (const auto& end : failed) {
      const char* error = board().errors[end.rank];
      if (!end.killed_by_signal() && *error == '\0') continue;
      return absl::AbortedError(
          absl::StrCat(name, ": child ", end.rank, ": ", end.killed_by_signal() ? end.Describe() : error));
    }
    return absl::AbortedError(absl::StrCat(name, ": child ", failed[0].rank, " ", failed[0].Describe()));
  }

  const std::unique_ptr<tools::SharedMemory> memory_;
  const int child_count_;
};

// What each start-up took between two of its milestones.
tools::Summary Between(const Board& board, std::int64_t StartTimes::*from, std::int64_t StartTimes::*to) {
  std::vector<std::int64_t> samples;
  for (std::int64_t i = kWarmUpStarts; i < board.start_count; ++i) {
    samples.push_back(board.starts[i].*to - board.starts[i].*from);
  }
  return tools::Summarize(std::move(samples));
}

GroupStart ReadStart(const Board& board) {
  return {.repeats = board.start_count - kWarmUpStarts,
          .whole = Between(board, &StartTimes::first_begin_ns, &StartTimes::last_window_ns),
          .attach = Between(board, &StartTimes::first_begin_ns, &StartTimes::last_attached_ns),
          .join = Between(board, &StartTimes::last_attached_ns, &StartTimes::last_joined_ns),
          .window = Between(board, &StartTimes::last_joined_ns, &StartTimes::last_window_ns)};
}

Crowd ReadCrowd(const Board& board) {
  return {.sessions = board.config.session_count,
          .groups = board.config.group_count,
          .resident_bytes_before = board.resident_bytes_before,
          .resident_bytes = board.resident_bytes,
          .get_stats = tools::Summarize(board.get_stats.After(kWarmUpCalls))};
}

class ControlRun {
 public:
  ControlRun(const ControlConfig& config, tools::Progress* progress) : config_(config), progress_(progress) {}

  ControlOutcome Run() {
    outcome_.status = Measure();
    return outcome_;
  }

 private:
  absl::Status Measure() {
    A8A_RETURN_IF_ERROR(MeasureOne(config_, config_.rank_count, kStartRole, "group start",
                                   [this](const Board& board) { outcome_.results.start = ReadStart(board); }));
    A8A_RETURN_IF_ERROR(MeasureOne(config_, 1, kAttachRole, "attach", [this](const Board& board) {
      outcome_.results.attach = tools::Summarize(board.attach.After(kWarmUpCalls));
      outcome_.results.connect = tools::Summarize(board.connect.After(kWarmUpCalls));
    }));
    ControlConfig sessions_only = config_;
    sessions_only.session_count = kStatsSessions;
    sessions_only.group_count = 0;
    A8A_RETURN_IF_ERROR(MeasureOne(sessions_only, config_.rank_count + 1, kCrowdRole, "sessions",
                                   [this](const Board& board) { outcome_.results.sessions = ReadCrowd(board); }));
    return MeasureOne(config_, config_.rank_count + 1, kCrowdRole, "sessions and groups",
                      [this](const Board& board) { outcome_.results.crowd = ReadCrowd(board); });
  }

  // Does nothing once the run is interrupted.
  template <typename Read>
  absl::Status MeasureOne(const ControlConfig& config, int child_count, const char* role, absl::string_view name,
                          const Read& read) {
    if (outcome_.interrupted_by != 0) return absl::OkStatus();
    A8A_ASSIGN_OR_RETURN(const auto measurement, Measurement::Create(config, child_count));
    A8A_ASSIGN_OR_RETURN(outcome_.interrupted_by, measurement->Run(role, name, progress_));
    if (outcome_.interrupted_by == 0) read(measurement->board());
    return absl::OkStatus();
  }

  const ControlConfig config_;
  tools::Progress* const progress_;
  ControlOutcome outcome_;
};

}  // namespace

ControlOutcome RunControl(const ControlConfig& config, tools::Progress* progress) {
  return ControlRun(config, progress).Run();
}

}  // namespace a8a::bench
