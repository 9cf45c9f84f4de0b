// Events of sessions: their order, and what a client that resumes is told.

#include <thread>

#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class CoreEventsTest : public CoreFixture {
 protected:
  std::shared_ptr<RecordingSink> BreakAndResume(const Attached& session, const std::function<void()>& meanwhile) {
    core_->StreamClosed(session.id, session.sink.get());
    meanwhile();
    auto sink = std::make_shared<RecordingSink>();
    EXPECT_THAT(core_->Resume(session.caller, 0, session.id, sink), IsOk());
    return sink;
  }
};

// Does something when it is told to drain, before it takes the event as seen.
class ReactingSink final : public EventSink {
 public:
  explicit ReactingSink(std::function<void()> on_draining) : on_draining_(std::move(on_draining)) {}
  void Send(SessionEvent event) override {
    if (std::holds_alternative<DrainingEvent>(event)) on_draining_();
    seen.push_back(event.index());
  }

  std::vector<std::size_t> seen;

 private:
  const std::function<void()> on_draining_;
};

TEST_F(CoreEventsTest, WhatAnEventCausesComesAfterIt) {
  const auto sink = std::make_shared<ReactingSink>([this] { EXPECT_THAT(core_->Undrain(Administrator()), IsOk()); });
  EXPECT_THAT(core_->Attach(Process(1), "", sink), IsOk());

  EXPECT_THAT(core_->Drain(Administrator(), absl::ZeroDuration()), IsOk());

  EXPECT_THAT(sink->seen, ElementsAre(SessionEvent(DrainingEvent{}).index(), SessionEvent(UndrainedEvent{}).index()));
}

// What used to happen: an event was sent after the lock that it was made under, so that a second thread's could
// overtake it, and a client believed for good that the daemon drained.
TEST_F(CoreEventsTest, EventsOfManyThreadsArriveInTheOrderInWhichThingsHappened) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 500;
  const Attached session = Attach(1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this] {
      for (int round = 0; round < kRounds; ++round) {
        EXPECT_THAT(core_->Drain(Administrator(), absl::ZeroDuration()), IsOk());
        EXPECT_THAT(core_->Undrain(Administrator()), IsOk());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(core_->Detach(session.caller, session.id), IsOk());

  const std::vector<SessionEvent> events = session.sink->All();
  ASSERT_THAT(session.sink->Events<DrainingEvent>(), SizeIs(kThreads * kRounds));
  ASSERT_TRUE(std::holds_alternative<SessionEndedEvent>(events.back()));
  EXPECT_TRUE(std::holds_alternative<UndrainedEvent>(events[events.size() - 2])) << "the daemon drains no more";
  for (std::size_t i = 1; i < events.size(); ++i) {
    if (!std::holds_alternative<UndrainedEvent>(events[i])) continue;
    EXPECT_TRUE(std::holds_alternative<DrainingEvent>(events[i - 1])) << "undrained twice in a row, event " << i;
  }
}

TEST_F(CoreEventsTest, AStreamThatIsTakenUpAgainTellsWhatTheOldOneMissed) {
  const auto sessions = AttachMany(2);
  const std::uint64_t group_id = FormGroup(sessions);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease,
                           core_->RegisterBuffer(sessions[0].caller, sessions[0].id, "host", 1, ""));

  const auto sink = BreakAndResume(sessions[0], [&] {
    core_->ProcessEnded(sessions[1].id);
    EXPECT_THAT(core_->RevokeBuffer(Administrator(), lease.buffer.buffer_id), IsOk());
    EXPECT_THAT(core_->Drain(Administrator(), absl::Seconds(10)), IsOk());
    clock_.Advance(absl::Seconds(4));
  });

  ASSERT_THAT(sink->Events<GroupAbortedEvent>(), SizeIs(1));
  EXPECT_EQ(sink->Events<GroupAbortedEvent>()[0].group_id, group_id);
  EXPECT_EQ(sink->Events<GroupAbortedEvent>()[0].rank, 1);
  EXPECT_EQ(sink->Events<GroupAbortedEvent>()[0].text, "rank 1 died");
  ASSERT_THAT(sink->Events<BufferRevokedEvent>(), SizeIs(1));
  EXPECT_EQ(sink->Events<BufferRevokedEvent>()[0].generation, lease.buffer.generation);
  ASSERT_THAT(sink->Events<DrainingEvent>(), SizeIs(1));
  EXPECT_EQ(sink->Events<DrainingEvent>()[0].timeout, absl::Seconds(6)) << "what is left of it";
}

TEST_F(CoreEventsTest, TheEndOfDrainingIsNotMissedEither) {
  const Attached session = Attach(1);
  EXPECT_THAT(core_->Drain(Administrator(), absl::ZeroDuration()), IsOk());

  const auto sink = BreakAndResume(session, [&] { EXPECT_THAT(core_->Undrain(Administrator()), IsOk()); });

  EXPECT_THAT(sink->Events<UndrainedEvent>(), SizeIs(1));
}

TEST_F(CoreEventsTest, AnUneventfulBreakTellsNothing) {
  const auto sessions = AttachMany(2);
  FormGroup(sessions);

  const auto sink = BreakAndResume(sessions[0], [] {});

  EXPECT_THAT(sink->All(), IsEmpty());
  EXPECT_THAT(sessions[0].sink->All(), IsEmpty());
}

TEST_F(CoreEventsTest, ARankThatEndedItsGroupIsNotToldOfIt) {
  const auto sessions = AttachMany(2);
  const std::uint64_t group_id = FormGroup(sessions);
  EXPECT_THAT(core_->AbortGroup(sessions[0].caller, sessions[0].id, group_id, ""), IsOk());

  const auto sink = BreakAndResume(sessions[0], [] {});

  EXPECT_THAT(sink->All(), IsEmpty());
}

}  // namespace
}  // namespace a8a::daemon
