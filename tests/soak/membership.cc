#include "tests/soak/membership.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "kernels/base/status_macros.h"

namespace a8a::soak {
namespace {

// How long a rank may be taken by one that has just died or left.
constexpr absl::Duration kRankTakenMax = absl::Seconds(10);
constexpr absl::Duration kRankTakenPause = absl::Milliseconds(5);
constexpr absl::Duration kJoinTimeout = absl::Seconds(60);

}  // namespace

Membership::Membership(a8a::Client* client, Reporter* reporter, Order order)
    : client_(client), reporter_(reporter), order_(std::move(order)) {
  life_.slot = order_.slot;
  life_.reporter = reporter_;
  life_.all_to_all_timeout = absl::Milliseconds(order_.timeout_ms);
  thread_ = std::thread([this] { Run(); });
}

Membership::~Membership() { thread_.join(); }

void Membership::Abort() {
  const std::shared_ptr<a8a::Group> group = this->group();
  if (group == nullptr) return;
  const absl::Status status = group->Abort("the soak's order");
  if (status.ok()) return;
  reporter_->SayError({{"slot", order_.slot}, {"group", group->id()}, {"rank", order_.rank}, {"op", "abort"}}, status);
}

nlohmann::json Membership::Progress() const {
  // Not from the group itself, whose end must not be here.
  const std::uint64_t group_id = group_id_;
  if (group_id == 0) return nullptr;
  return {{"slot", order_.slot}, {"group", group_id}, {"turns", life_.turns.load()}};
}

void Membership::Run() {
  absl::StatusOr<std::shared_ptr<a8a::Group>> group = Join();
  if (!group.ok()) {
    reporter_->SayError({{"slot", order_.slot}, {"group", 0}, {"rank", order_.rank}, {"op", "join"}}, group.status());
    return reporter_->Say({{"event", "ended"}, {"slot", order_.slot}, {"group", 0}, {"how", "not joined"}});
  }
  const std::uint64_t group_id = (*group)->id();
  reporter_->Say({{"event", "joined"}, {"slot", order_.slot}, {"group", group_id}});
  SetGroup(*group);
  const std::string how = RunIn(*group);
  SetGroup(nullptr);
  group->reset();
  reporter_->Say({{"event", "ended"}, {"slot", order_.slot}, {"group", group_id}, {"how", how}});
}

absl::StatusOr<std::shared_ptr<a8a::Group>> Membership::Join() {
  const absl::Time taken_until = absl::Now() + kRankTakenMax;
  while (true) {
    auto group = client_->Join({.name = order_.name,
                                .rank = order_.rank,
                                .world_size = order_.world_size,
                                .channel_count = order_.channel_count,
                                .timeout = kJoinTimeout,
                                .all_to_all_timeout = life_.all_to_all_timeout});
    if (group.ok()) return std::shared_ptr<a8a::Group>(*std::move(group));
    if (!absl::IsAlreadyExists(group.status()) || absl::Now() > taken_until) return group.status();
    absl::SleepFor(kRankTakenPause);
  }
}

std::string Membership::RunIn(const std::shared_ptr<a8a::Group>& group) {
  const Script script(order_.seed ^ group->id() * 0x9e3779b97f4a7c15, order_.world_size, order_.window_bytes);
  life_.group = group.get();
  life_.script = &script;
  const absl::Status status = RunChannels();
  if (status.ok()) return life_.over ? "told to leave" : "finished";
  return absl::IsDataLoss(status) ? "wrong" : "failed";
}

absl::Status Membership::RunChannels() {
  std::vector<std::unique_ptr<ChannelRun>> channels;
  for (int channel = 0; channel < order_.channel_count; ++channel) {
    channels.push_back(std::make_unique<ChannelRun>(&life_, channel));
    A8A_RETURN_IF_ERROR(channels.back()->Open());
  }
  const auto count = static_cast<std::size_t>(order_.thread_count);
  std::vector<absl::Status> ends(count);
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < count; ++thread) {
    threads.emplace_back([&, thread] { ends[thread] = RunThread(static_cast<int>(thread), &channels); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& end : ends) A8A_RETURN_IF_ERROR(end);
  return absl::OkStatus();
}

// Block by block, the channels of a thread in the same order on all ranks: then no two ranks wait for each other.
absl::Status Membership::RunThread(int thread, std::vector<std::unique_ptr<ChannelRun>>* channels) {
  for (int block = 0; block < order_.block_count; ++block) {
    for (std::size_t c = static_cast<std::size_t>(thread); c < channels->size();
         c += static_cast<std::size_t>(order_.thread_count)) {
      if (!MayBegin(block)) return absl::OkStatus();
      const absl::Status status = (*channels)[c]->RunBlock(block);
      if (status.ok()) continue;
      End();
      return status;
    }
  }
  return absl::OkStatus();
}

// A rank that leaves does so after the same block on all of its threads. If one ended earlier than another, a rank with
// fewer threads could wait for it on that one's channel, and the other for that rank, neither of which can leave then.
bool Membership::MayBegin(int block) {
  const std::lock_guard lock(mutex_);
  if (life_.over) last_block_ = std::min(last_block_, newest_block_);
  if (block > last_block_) return false;
  newest_block_ = std::max(newest_block_, block);
  return true;
}

// After an error that is the end of this life: the other threads would wait for nobody.
void Membership::End() {
  life_.over = true;
  const std::lock_guard lock(mutex_);
  last_block_ = -1;
}

void Membership::SetGroup(std::shared_ptr<a8a::Group> group) {
  group_id_ = group == nullptr ? 0 : group->id();
  const std::lock_guard lock(mutex_);
  group_.swap(group);
}

std::shared_ptr<a8a::Group> Membership::group() const {
  const std::lock_guard lock(mutex_);
  return group_;
}

}  // namespace a8a::soak
