// Many threads do everything at once; afterwards nothing is left. Also the scale that the daemon is made for.

#include <array>
#include <random>
#include <thread>

#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class CoreStressTest : public CoreFixture {
 protected:
  static constexpr int kThreads = 8;
  static constexpr int kSessionsOfThread = 3;
  static constexpr int kSteps = 1500;

  // What waits and what came of it. Callbacks run on the thread of the rank that comes last.
  struct Calls {
    std::atomic<int> begun = 0;
    std::atomic<int> ended = 0;
  };

  // One thread's processes, which do random things with each other's and other threads'.
  class Actor {
   public:
    Actor(CoreStressTest* test, int index) : test_(*test), random_(test->seed_ + static_cast<unsigned>(index)) {
      for (Attached& session : sessions_) session = Begin();
    }

    void Step() {
      Attached& session = sessions_[random_() % sessions_.size()];
      const auto act = kActs[random_() % kActs.size()];
      (this->*act)(session);
      if (random_() % 8 == 0) std::this_thread::yield();
    }
    void EndAll() {
      for (Attached& session : sessions_) End(session);
    }

   private:
    using Act = void (Actor::*)(Attached&);

    Core& core() { return *test_.core_; }
    Attached Begin() {
      Attached session = test_.Attach(++test_.next_pid_);
      test_.Keep(session.sink);
      return session;
    }
    void End(Attached& session) {
      switch (random_() % 3) {
        case 0:
          return core().ProcessEnded(session.id);
        case 1:
          return core().Detach(session.caller, session.id).IgnoreError();
        default:
          core().RevokeSession(Administrator(), session.id).IgnoreError();
      }
    }

    void Replace(Attached& session) {
      End(session);
      session = Begin();
    }
    void Lease(Attached& session) {
      const auto lease = core().RegisterBuffer(session.caller, session.id, "host", Size(), "b");
      if (!lease.ok()) return;
      if (random_() % 2 == 0) {
        EXPECT_THAT(core().RedeemTicket(session.caller.identity, session.id, lease->ticket.value), IsOk());
      }
      if (random_() % 2 == 0) core().RevokeBuffer(Administrator(), lease->buffer.buffer_id).IgnoreError();
    }
    void Join(Attached& session) {
      const JoinOptions options = RankOf(static_cast<int>(random_() % 2), 2, "g" + std::to_string(random_() % 4));
      ++test_.calls_.begun;
      const std::uint64_t pending =
          core().JoinGroup(session.caller, session.id, options, [test = &test_](const auto&) { ++test->calls_.ended; });
      if (random_() % 4 == 0) core().CancelPending(pending, absl::CancelledError("never mind"));
    }
    void RegisterWindow(Attached& session) {
      ++test_.calls_.begun;
      const std::string name = "w" + std::to_string(random_() % 2);
      const std::uint64_t pending =
          core().RegisterWindow(session.caller, session.id, SomeGroup(session), {.name = name, .size_bytes = Size()},
                                [test = &test_](const auto&) { ++test->calls_.ended; });
      if (random_() % 8 == 0) core().CancelPending(pending, absl::CancelledError("never mind"));
    }
    void ReleaseWindow(Attached& session) {
      core().ReleaseWindow(session.caller, session.id, SomeGroup(session), 0).IgnoreError();
    }
    void LeaveOrAbort(Attached& session) {
      if (random_() % 2 == 0) core().AbortGroup(session.caller, session.id, SomeGroup(session), "x").IgnoreError();
      core().LeaveGroup(session.caller, session.id, SomeGroup(session)).IgnoreError();
    }
    void BreakStream(Attached& session) {
      core().StreamClosed(session.id, session.sink.get());
      auto sink = std::make_shared<RecordingSink>();
      if (!core().Resume(session.caller, 0, session.id, sink).ok()) return;
      session.sink = sink;
      test_.Keep(sink);
    }
    void Look(Attached& session) {
      const CoreSnapshot snapshot = core().Snapshot(session.caller, 0);
      EXPECT_GE(snapshot.devices[0].leased_bytes, 0);
      EXPECT_LE(snapshot.devices[0].leased_bytes, snapshot.devices[0].leased_bytes_peak);
      core().Tick();
    }

    std::int64_t Size() { return 1 + static_cast<std::int64_t>(random_() % 9999); }
    // A group that this session is a rank of, or 0.
    std::uint64_t SomeGroup(const Attached& session) {
      const auto groups = core().ListGroups(session.caller, 0, 0);
      for (const GroupInfo& group : groups.ok() ? *groups : std::vector<GroupInfo>()) {
        for (const RankInfo& rank : group.ranks) {
          if (rank.session_id == session.id) return group.group_id;
        }
      }
      return 0;
    }

    static constexpr std::array<Act, 12> kActs = {&Actor::Replace,        &Actor::Lease,          &Actor::Join,
                                                  &Actor::Join,           &Actor::Join,           &Actor::Join,
                                                  &Actor::RegisterWindow, &Actor::RegisterWindow, &Actor::ReleaseWindow,
                                                  &Actor::LeaveOrAbort,   &Actor::BreakStream,    &Actor::Look};

    CoreStressTest& test_;
    std::mt19937 random_;
    std::array<Attached, kSessionsOfThread> sessions_;
  };

  void Keep(std::shared_ptr<RecordingSink> sink) {
    const MutexLock lock(&sinks_mutex_);
    sinks_.push_back(std::move(sink));
  }
  // The end, where it was told of, is the last event of its stream.
  int CountEnds() {
    const MutexLock lock(&sinks_mutex_);
    int ends = 0;
    for (const auto& sink : sinks_) {
      const std::vector<SessionEvent> events = sink->All();
      for (std::size_t i = 0; i < events.size(); ++i) {
        if (!std::holds_alternative<SessionEndedEvent>(events[i])) continue;
        ++ends;
        EXPECT_EQ(i + 1, events.size()) << "an event came after the end";
      }
    }
    return ends;
  }

  const unsigned seed_ = std::random_device()();
  std::atomic<std::int32_t> next_pid_ = 1000;
  Calls calls_;
  Mutex sinks_mutex_;
  std::vector<std::shared_ptr<RecordingSink>> sinks_ ABSL_GUARDED_BY(sinks_mutex_);
};

TEST_F(CoreStressTest, NothingIsLeftWhenEverybodyIsGone) {
  SCOPED_TRACE(testing::Message() << "seed " << seed_);
  std::atomic<int> ready = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t, &ready] {
      Actor actor(this, t);
      ++ready;
      while (ready < kThreads) std::this_thread::yield();
      for (int step = 0; step < kSteps; ++step) {
        // Now and then an allocation fails, whosever it is.
        if (step % 50 == 0) script_->FailAllocations(1, absl::ResourceExhaustedError("no pages"));
        actor.Step();
      }
      actor.EndAll();
    });
  }
  for (std::thread& thread : threads) thread.join();

  const CoreSnapshot snapshot = Everything();
  EXPECT_THAT(snapshot.sessions, IsEmpty());
  EXPECT_THAT(snapshot.groups, IsEmpty());
  EXPECT_EQ(snapshot.devices[0].leased_bytes, 0);
  EXPECT_EQ(snapshot.devices[0].lease_count, 0);
  EXPECT_EQ(script_->live_count(), 0);
  EXPECT_EQ(calls_.begun.load(), calls_.ended.load()) << "a callback was not called, or called twice";
  EXPECT_EQ(CountEnds(), static_cast<int>(snapshot.counters.sessions_total))
      << "a session's end was not told, or told twice";
  EXPECT_GT(snapshot.counters.groups_total, 0U) << "the test has not tested much";
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
