// A rank in one group after the other, as its driver orders them: joins, runs its channels in some threads, leaves.
#ifndef A8A_TESTS_SOAK_MEMBERSHIP_H_
#define A8A_TESTS_SOAK_MEMBERSHIP_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "a8a/client.h"
#include "absl/status/status.h"
#include "tests/soak/channel_run.h"
#include "tests/soak/reporter.h"
#include "tests/soak/script.h"

namespace a8a::soak {

struct Order {
  int slot = 0;
  std::string name;
  int rank = 0;
  int world_size = 1;
  int channel_count = 1;
  int thread_count = 1;  // of this rank; channels are dealt out to them
  int block_count = 1;   // of each channel
  std::int64_t window_bytes = 0;
  std::int64_t timeout_ms = 0;
  std::uint64_t seed = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Order, slot, name, rank, world_size, channel_count, thread_count, block_count,
                                   window_bytes, timeout_ms, seed)

// One life: from joining a group to having left it.
class Membership {
 public:
  Membership(a8a::Client* client, Reporter* reporter, Order order);
  // Waits for its end.
  ~Membership();
  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

  // Ends it out of turn: the others will miss this rank.
  void Leave() { life_.over = true; }
  // Ends the group for all.
  void Abort();

  [[nodiscard]] int slot() const { return order_.slot; }
  // {"slot", "group", "turns"} while it runs, else null.
  [[nodiscard]] nlohmann::json Progress() const;

 private:
  void Run();
  [[nodiscard]] absl::StatusOr<std::shared_ptr<a8a::Group>> Join();
  // What ended it.
  [[nodiscard]] std::string RunIn(const std::shared_ptr<a8a::Group>& group);
  [[nodiscard]] absl::Status RunChannels();
  [[nodiscard]] absl::Status RunThread(int thread, std::vector<std::unique_ptr<ChannelRun>>* channels);
  [[nodiscard]] bool MayBegin(int block);
  void End();
  void SetGroup(std::shared_ptr<a8a::Group> group);
  [[nodiscard]] std::shared_ptr<a8a::Group> group() const;

  a8a::Client* const client_;
  Reporter* const reporter_;
  const Order order_;
  Life life_;
  std::atomic<std::uint64_t> group_id_ = 0;  // while it runs
  mutable std::mutex mutex_;
  std::shared_ptr<a8a::Group> group_;
  int newest_block_ = 0;  // that a thread has begun
  int last_block_ = std::numeric_limits<int>::max();
  std::thread thread_;
};

}  // namespace a8a::soak

#endif  // A8A_TESTS_SOAK_MEMBERSHIP_H_
