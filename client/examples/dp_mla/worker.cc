#include "client/examples/dp_mla/worker.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "a8a/group.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/examples/dp_mla/job.h"
#include "client/examples/dp_mla/job_memory.h"
#include "client/examples/dp_mla/oracle.h"
#include "client/examples/dp_mla/splits.h"
#include "kernels/base/status_macros.h"

namespace a8a::dp_mla {
namespace {

// The job needs one stream of all-to-alls.
constexpr int kChannelCount = 1;
constexpr Channel kChannel{.index = 0};

// What one direction needs: its own window, so that consecutive all-to-alls of the channel write different ones.
struct Lane {
  Lane(const JobConfig& config, int rank, Direction which)
      : direction(which),
        oracle(config.shape, rank, which, config.row_bytes[static_cast<int>(which)]),
        views(MakeViews(config.shape, which, config.row_bytes[static_cast<int>(which)])) {}

  [[nodiscard]] Input a8a_input() const { return {.data = input->device(), .view = views.input}; }
  [[nodiscard]] Output a8a_output() const { return {.window = window.get(), .offset_bytes = 0, .view = views.output}; }

  const Direction direction;
  const Oracle oracle;
  const Views views;
  std::unique_ptr<Tensor> input;
  std::unique_ptr<Window> window;
  std::unique_ptr<Tensor> output;  // over the window
  Plan plan;
};

class Worker {
 public:
  Worker(const Job& job, int rank)
      : job_(job),
        config_(job.config()),
        rank_(rank),
        state_(job.rank(rank)),
        splits_(config_.shape, rank),
        lanes_{Lane(config_, rank, Direction::kTp2Dp), Lane(config_, rank, Direction::kDp2Tp)} {}

  // OK at the end of the job, and when a mismatch, here or elsewhere, has ended it.
  absl::Status Run();

 private:
  absl::Status Join();
  absl::Status RunStep(std::int64_t step);
  absl::Status PrepareStep(std::int64_t step);
  absl::Status RunAllToAll(const Position& position, Lane* lane);
  absl::Status AllToAll(const Position& position, const Lane& lane);
  // What was launched has ended, and how.
  absl::Status Finish();
  absl::Status PushSplits(std::int64_t step);
  absl::Status Poison();
  void Compare(const Position& position, const Lane& lane);
  void InjectFault(const Position& position, const Lane& lane);

  // Before each all-to-all or Prepare. The barrier makes all ranks start together, so that the times hold the
  // all-to-all alone and not what a peer still does to its input. False when the job has been stopped; with the
  // barrier, all ranks learn that at the same position.
  [[nodiscard]] bool StartTogether(const Position& position) {
    if (!config_.free_running) job_.barrier().Wait();
    stopped_ = job_.StoppedBefore(position);
    return !stopped_;
  }
  [[nodiscard]] Splits SplitsOf(Direction direction) const {
    return splits_.SplitsAt(reinterpret_cast<const std::int32_t*>(device_splits_->device()), direction);
  }
  [[nodiscard]] TensorId IdAt(const Position& position) const {
    return {.seed = config_.seed, .direction = position.direction, .step = position.step, .layer = position.layer};
  }

  const Job& job_;
  const JobConfig& config_;
  const int rank_;
  RankState& state_;
  SplitArrays splits_;
  // Destroyed in the reverse order: windows before their group, the group before its client and its memory.
  std::unique_ptr<const JobMemory> memory_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Group> group_;
  std::unique_ptr<Tensor> device_splits_;
  std::array<Lane, kDirectionCount> lanes_;
  bool stopped_ = false;
  bool fault_injected_ = false;
};

// Calls `operation` and puts its duration into *ns.
template <typename Operation>
absl::Status Timed(std::int64_t* ns, const Operation& operation) {
  const auto start = std::chrono::steady_clock::now();
  const absl::Status status = operation();
  const auto elapsed = std::chrono::steady_clock::now() - start;
  *ns = std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count() + 1;  // rounded up: 0 means no time
  return status;
}

absl::Status Worker::Join() {
  const absl::Duration timeout = absl::Milliseconds(config_.timeout_ms);
  A8A_ASSIGN_OR_RETURN(client_, Client::Connect({.runtime_dir = config_.runtime_dir,
                                                 .client_name = absl::StrCat("a8a-dp-mla/", rank_),
                                                 .timeout = timeout}));
  A8A_ASSIGN_OR_RETURN(memory_, MakeJobMemory(config_.backend, rank_, client_->devices()));
  A8A_ASSIGN_OR_RETURN(group_, client_->Join({.name = config_.group_name,
                                              .rank = rank_,
                                              .world_size = config_.shape.world_size,
                                              .device = memory_->device(),
                                              .channel_count = kChannelCount,
                                              .secret = config_.secret,
                                              .timeout = timeout,
                                              .all_to_all_timeout = timeout}));
  state_.overhead_bytes = group_->overhead_bytes();
  A8A_ASSIGN_OR_RETURN(device_splits_,
                       memory_->NewTensor(static_cast<std::int64_t>(splits_.all().size() * sizeof(splits_.all()[0]))));
  for (Lane& lane : lanes_) {
    const std::int64_t asked_bytes = lane.oracle.output_bytes();
    A8A_ASSIGN_OR_RETURN(lane.window,
                         group_->RegisterWindow(std::string(DirectionName(lane.direction)), asked_bytes, timeout));
    state_.window_padding_bytes += lane.window->size_bytes() - asked_bytes;
    A8A_ASSIGN_OR_RETURN(lane.output, memory_->Over(lane.window->data(), lane.window->size_bytes()));
    A8A_ASSIGN_OR_RETURN(lane.input, memory_->NewTensor(lane.oracle.input_bytes()));
  }
  return absl::OkStatus();
}

absl::Status Worker::Run() {
  state_.phase = Phase::kJoining;
  A8A_RETURN_IF_ERROR(Join());
  state_.phase = Phase::kRunning;
  for (std::int64_t step = 0; step < config_.step_count && !stopped_; ++step) A8A_RETURN_IF_ERROR(RunStep(step));
  state_.phase = Phase::kDone;
  // Nobody leaves the group while a peer is still in its last all-to-all: leaving ends the group for all. Ranks that
  // run freely stop at different positions, and the parent ends those that are left.
  if (!stopped_ || !config_.free_running) job_.barrier().Wait();
  return absl::OkStatus();
}

// What the last step left would hide rows that do not arrive. The group's rule allows the writing: the channel's last
// all-to-all was compared, and no peer gets past this step's first one before this rank has come to it.
absl::Status Worker::Poison() {
  for (Lane& lane : lanes_) {
    FillPattern(kPoison, lane.output->host().data(), lane.output->host().size());
    A8A_RETURN_IF_ERROR(lane.output->Push());
  }
  return absl::OkStatus();
}

absl::Status Worker::PushSplits(std::int64_t step) {
  splits_.Update(job_.tokens(step));
  std::memcpy(device_splits_->host().data(), splits_.all().data(), device_splits_->host().size());
  return device_splits_->Push();
}

absl::Status Worker::Finish() {
  A8A_RETURN_IF_ERROR(memory_->Finish());
  return group_->CheckStatus(kChannel);
}

absl::Status Worker::RunStep(std::int64_t step) {
  A8A_RETURN_IF_ERROR(Poison());
  A8A_RETURN_IF_ERROR(PushSplits(step));
  if (config_.mode == Mode::kPrepared) A8A_RETURN_IF_ERROR(PrepareStep(step));
  if (stopped_) return absl::OkStatus();
  for (std::int32_t layer = 0; layer < config_.layer_count; ++layer) {
    for (Lane& lane : lanes_) {
      A8A_RETURN_IF_ERROR(RunAllToAll({.step = step, .layer = layer, .direction = lane.direction}, &lane));
      if (stopped_) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::Status Worker::PrepareStep(std::int64_t step) {
  for (Lane& lane : lanes_) {
    if (!StartTogether({.step = step})) return absl::OkStatus();
    std::int64_t ns = 0;
    const auto prepare = [&] {
      A8A_RETURN_IF_ERROR(group_->Prepare(&lane.plan, lane.a8a_input(), lane.a8a_output(), SplitsOf(lane.direction),
                                          kChannel, memory_->stream()));
      return Finish();
    };
    A8A_RETURN_IF_ERROR(Timed(&ns, prepare));
    job_.RecordPrepare({.step = step, .direction = lane.direction}, ns);
  }
  return absl::OkStatus();
}

absl::Status Worker::RunAllToAll(const Position& position, Lane* lane) {
  lane->oracle.FillInput(IdAt(position), job_.tokens(position.step), lane->input->host().data());
  A8A_RETURN_IF_ERROR(lane->input->Push());
  if (!StartTogether(position)) return absl::OkStatus();
  A8A_RETURN_IF_ERROR(AllToAll(position, *lane));
  A8A_RETURN_IF_ERROR(lane->output->Pull());
  InjectFault(position, *lane);
  Compare(position, *lane);
  return absl::OkStatus();
}

absl::Status Worker::AllToAll(const Position& position, const Lane& lane) {
  std::int64_t ns = 0;
  const auto move = [&] {
    A8A_RETURN_IF_ERROR(config_.mode == Mode::kPrepared
                            ? group_->AllToAll(lane.plan, lane.input->device(), memory_->stream())
                            : group_->AllToAll(lane.a8a_input(), lane.a8a_output(), SplitsOf(lane.direction), kChannel,
                                               memory_->stream()));
    return Finish();
  };
  A8A_RETURN_IF_ERROR(Timed(&ns, move));
  job_.RecordAllToAll(position, ns);
  return absl::OkStatus();
}

void Worker::Compare(const Position& position, const Lane& lane) {
  const Comparison comparison =
      lane.oracle.CompareOutput(IdAt(position), job_.tokens(position.step), lane.output->host());
  state_.rows[static_cast<int>(lane.direction)] += comparison.rows;
  if (comparison.first.has_value()) {
    state_.differing_rows = comparison.differing_rows;
    state_.first_mismatch = *comparison.first;
    job_.StopAfter(position);
  }
  // Relaxed: only shown to people and compared with itself.
  state_.progress.fetch_add(1, std::memory_order_relaxed);
}

// Flips the middle byte of the first row that arrived in the chosen step; of the padding, should no row arrive at all.
void Worker::InjectFault(const Position& position, const Lane& lane) {
  if (fault_injected_ || config_.corrupt_rank != rank_ || config_.corrupt_step != position.step) return;
  lane.output->host()[static_cast<std::size_t>(lane.views.output.row_bytes / 2)] ^= std::byte{0x40};
  fault_injected_ = true;
}

// Where the rank was, unless the message can only mean the start.
std::string Where(const Job& job, const RankState& state) {
  if (state.phase != Phase::kRunning) return "";
  const Position position = job.PositionOf(state.progress);
  return absl::StrCat("step ", position.step, ", layer ", position.layer, ", ", DirectionName(position.direction),
                      ": ");
}

int Report(const Job& job, int rank, const absl::Status& status) {
  RankState& state = job.rank(rank);
  if (status.ok()) return state.differing_rows == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
  const std::string text = absl::StrCat(Where(job, state), status.ToString());
  std::snprintf(state.error, sizeof(state.error), "%s", text.c_str());
  return EXIT_FAILURE;
}

}  // namespace

int RunRank(int rank, int job_fd) {
  const absl::StatusOr<std::unique_ptr<Job>> job = Job::Open(job_fd);
  if (!job.ok()) {
    std::fprintf(stderr, "a8a-dp-mla: rank %d: %s\n", rank, job.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  return Report(**job, rank, Worker(**job, rank).Run());
}

}  // namespace a8a::dp_mla
