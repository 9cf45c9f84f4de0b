#include "client/examples/dp_mla/job.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/status_macros.h"

namespace a8a::dp_mla {
namespace {

constexpr std::uint64_t kJobMagic = 0x6138612d64706d6c;  // "a8a-dpml"

using Nanoseconds = std::atomic<std::int64_t>;

// Byte offsets of the parts behind the header, in this order.
struct Offsets {
  std::size_t ranks;
  std::size_t all_to_all_ns;
  std::size_t prepare_ns;
  std::size_t tokens;
  std::size_t end;
};

Offsets OffsetsOf(const JobConfig& config, std::size_t header_bytes) {
  const auto steps = static_cast<std::size_t>(config.step_count);
  const auto layers = static_cast<std::size_t>(config.layer_count);
  Offsets offsets = {};
  offsets.ranks = header_bytes;
  offsets.all_to_all_ns = offsets.ranks + static_cast<std::size_t>(config.shape.world_size) * sizeof(RankState);
  offsets.prepare_ns = offsets.all_to_all_ns + steps * layers * kDirectionCount * sizeof(Nanoseconds);
  offsets.tokens = offsets.prepare_ns + steps * kDirectionCount * sizeof(Nanoseconds);
  offsets.end = offsets.tokens + steps * static_cast<std::size_t>(config.shape.dp_group_count) * sizeof(std::int32_t);
  return offsets;
}

void RaiseTo(Nanoseconds* time, std::int64_t ns) {
  // Relaxed: read by the parent after the ranks have ended.
  std::int64_t seen = time->load(std::memory_order_relaxed);
  while (seen < ns && !time->compare_exchange_weak(seen, ns, std::memory_order_relaxed)) {
  }
}

// The times from `first` on, every `stride`-th, that were recorded.
std::vector<std::int64_t> Recorded(const Nanoseconds* times, std::int64_t first, std::int64_t end,
                                   std::int64_t stride) {
  std::vector<std::int64_t> recorded;
  for (std::int64_t i = first; i < end; i += stride) {
    const std::int64_t ns = times[i].load(std::memory_order_relaxed);
    if (ns > 0) recorded.push_back(ns);
  }
  return recorded;
}

}  // namespace

struct alignas(64) Job::Header {
  std::uint64_t magic;
  JobConfig config;
  tools::ProcessBarrier barrier;
  std::atomic<std::int64_t> last_progress;  // ProgressAt of the last all-to-all that may be started
};

absl::StatusOr<std::unique_ptr<Job>> Job::Create(const JobConfig& config, const TokenTable& tokens) {
  const Offsets offsets = OffsetsOf(config, sizeof(Header));
  A8A_ASSIGN_OR_RETURN(auto memory, tools::SharedMemory::Create(offsets.end));
  // The rest is right as zeroed memory: counters at 0, no errors.
  auto* header = new (memory->data()) Header{
      .magic = kJobMagic, .config = config, .barrier = {}, .last_progress = std::numeric_limits<std::int64_t>::max()};
  A8A_RETURN_IF_ERROR(header->barrier.Init(config.shape.world_size));
  std::copy_n(tokens.tokens.begin(), config.step_count * config.shape.dp_group_count,
              reinterpret_cast<std::int32_t*>(memory->data() + offsets.tokens));
  return std::unique_ptr<Job>(new Job(std::move(memory)));
}

absl::StatusOr<std::unique_ptr<Job>> Job::Open(int fd) {
  A8A_ASSIGN_OR_RETURN(auto memory, tools::SharedMemory::Open(fd, sizeof(Header)));
  const std::size_t size_bytes = memory->size_bytes();
  std::unique_ptr<Job> job(new Job(std::move(memory)));
  if (job->header()->magic != kJobMagic || OffsetsOf(job->config(), sizeof(Header)).end != size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("descriptor ", fd, " is not a job of this program"));
  }
  return job;
}

Job::Header* Job::header() const { return reinterpret_cast<Header*>(memory_->data()); }

const JobConfig& Job::config() const { return header()->config; }

absl::Span<const std::int32_t> Job::tokens(std::int64_t step) const {
  const auto width = static_cast<std::size_t>(config().shape.dp_group_count);
  const std::byte* start = memory_->data() + OffsetsOf(config(), sizeof(Header)).tokens;
  return {reinterpret_cast<const std::int32_t*>(start) + static_cast<std::size_t>(step) * width, width};
}

RankState& Job::rank(int rank) const {
  return reinterpret_cast<RankState*>(memory_->data() + OffsetsOf(config(), sizeof(Header)).ranks)[rank];
}

tools::ProcessBarrier& Job::barrier() const { return header()->barrier; }

void Job::StopAfter(const Position& position) const {
  const std::int64_t progress = ProgressAt(position);
  std::int64_t last = header()->last_progress.load();
  while (progress < last && !header()->last_progress.compare_exchange_weak(last, progress)) {
  }
}

bool Job::StoppedBefore(const Position& position) const { return ProgressAt(position) > header()->last_progress; }

std::atomic<std::int64_t>* Job::all_to_all_ns() const {
  return reinterpret_cast<Nanoseconds*>(memory_->data() + OffsetsOf(config(), sizeof(Header)).all_to_all_ns);
}

std::atomic<std::int64_t>* Job::prepare_ns() const {
  return reinterpret_cast<Nanoseconds*>(memory_->data() + OffsetsOf(config(), sizeof(Header)).prepare_ns);
}

std::int64_t Job::all_to_all_count() const { return config().step_count * config().layer_count * kDirectionCount; }

Position Job::PositionOf(std::int64_t progress) const {
  const std::int64_t per_step = std::int64_t{config().layer_count} * kDirectionCount;
  return Position{.step = progress / per_step,
                  .layer = static_cast<std::int32_t>(progress % per_step / kDirectionCount),
                  .direction = kDirections[progress % kDirectionCount]};
}

std::int64_t Job::ProgressAt(const Position& position) const {
  return (position.step * config().layer_count + position.layer) * kDirectionCount +
         static_cast<std::int64_t>(position.direction);
}

void Job::RecordAllToAll(const Position& position, std::int64_t ns) const {
  RaiseTo(all_to_all_ns() + ProgressAt(position), ns);
}

void Job::RecordPrepare(const Position& position, std::int64_t ns) const {
  RaiseTo(prepare_ns() + position.step * kDirectionCount + static_cast<std::int64_t>(position.direction), ns);
}

std::vector<std::int64_t> Job::AllToAllTimes(Direction direction) const {
  return Recorded(all_to_all_ns(), static_cast<std::int64_t>(direction), all_to_all_count(), kDirectionCount);
}

std::vector<std::int64_t> Job::PrepareTimes() const {
  return Recorded(prepare_ns(), 0, config().step_count * kDirectionCount, 1);
}

}  // namespace a8a::dp_mla
