// Many threads do everything at once; afterwards nothing is left. Also the scale that the daemon is made for.

#include <random>
#include <thread>

#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class CoreStressTest : public CoreFixture {
 protected:
  // One process's life: attaches, does a few things with random partners, and leaves or dies.
  void LiveOnce(std::mt19937& random, std::int32_t pid) {
    const Attached session = Attach(pid);
    if (session.id == 0) return;
    std::vector<std::uint64_t> pending;
    for (int i = 0; i < 4; ++i) Act(random, session, &pending);
    for (const std::uint64_t id : pending) core_->CancelPending(id, absl::CancelledError("done"));
    if (random() % 2 == 0) {
      core_->ProcessEnded(session.id);
    } else {
      core_->Detach(session.caller, session.id).IgnoreError();
    }
  }

  void Act(std::mt19937& random, const Attached& session, std::vector<std::uint64_t>* pending) {
    switch (random() % 4) {
      case 0:
        core_->RegisterBuffer(session.caller, session.id, "host", 1 + static_cast<std::int64_t>(random() % 9999), "b")
            .status()
            .IgnoreError();
        break;
      case 1:
        JoinAndRegister(random, session, pending);
        break;
      case 2:
        EXPECT_LE(core_->Snapshot(session.caller, 0).sessions.size(), 8U);
        break;
      default:
        core_->Tick();
    }
  }

  void JoinAndRegister(std::mt19937& random, const Attached& session, std::vector<std::uint64_t>* pending) {
    const int rank = static_cast<int>(random() % 2);
    // The callback may run on the thread of the rank that completes the group.
    const auto joined = [this, session](absl::StatusOr<JoinGrant> grant) {
      if (!grant.ok()) return;
      core_->RegisterWindow(session.caller, session.id, grant->group.group_id, "w", 100, [](auto) {});
    };
    const std::string name = "g" + std::to_string(random() % 3);
    pending->push_back(core_->JoinGroup(session.caller, session.id, RankOf(rank, 2, name), joined));
  }
};

TEST_F(CoreStressTest, NothingIsLeftWhenEverybodyIsGone) {
  constexpr int kThreads = 8;
  constexpr int kLives = 60;
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t, seed] {
      std::mt19937 random(seed + static_cast<unsigned>(t));
      for (int life = 0; life < kLives; ++life) LiveOnce(random, 1000 * (t + 1) + life);
    });
  }
  for (std::thread& thread : threads) thread.join();

  const CoreSnapshot snapshot = Everything();
  EXPECT_THAT(snapshot.sessions, IsEmpty());
  EXPECT_THAT(snapshot.groups, IsEmpty());
  EXPECT_EQ(snapshot.devices[0].leased_bytes, 0);
  EXPECT_EQ(snapshot.devices[0].lease_count, 0);
  EXPECT_EQ(script_->live_count(), 0);
  EXPECT_GT(snapshot.groups_total, 0U) << "the test has not tested much";
}

TEST_F(CoreStressTest, TwoHundredSessionsInSixtyFourGroups) {
  constexpr int kGroups = 64;
  constexpr int kRanks = 3;
  const auto sessions = AttachMany(200);
  for (int g = 0; g < kGroups; ++g) {
    const auto first = sessions.begin() + g * kRanks;
    const std::uint64_t group_id = FormGroup({first, first + kRanks}, "g" + std::to_string(g));
    FormWindow({first, first + kRanks}, group_id, "w", kGranularity);
  }

  EXPECT_THAT(Everything().sessions, SizeIs(200));
  EXPECT_THAT(Everything().groups, SizeIs(kGroups));
  core_->EndEverything();
  EXPECT_EQ(LeasedBytes(), 0);
}

}  // namespace
}  // namespace a8a::daemon
