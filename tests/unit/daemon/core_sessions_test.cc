#include <sys/stat.h>

#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class CoreSessionsTest : public CoreFixture {};

TEST_F(CoreSessionsTest, ClientNameMustBePrintableAndShort) {
  EXPECT_THAT(core_->Attach(Process(1), std::string(65, 'x'), nullptr),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("client_name is 65 bytes long; at most 64")));
  EXPECT_THAT(core_->Attach(Process(1), "a\nb", nullptr), StatusIs(StatusCode::kInvalidArgument, HasSubstr("a\\nb")));
  EXPECT_THAT(core_->Attach(Process(1), "", nullptr), IsOk());
}

TEST_F(CoreSessionsTest, OneMoreThanTheLimitIsResourceExhausted) {
  MakeCore({.session_max = 2});
  Attach(1);
  Attach(2);

  EXPECT_THAT(core_->Attach(Process(3), "", nullptr),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("limit is 2")));
}

TEST_F(CoreSessionsTest, IdsAreNeverUsedAgain) {
  const Attached first = Attach(1);
  EXPECT_THAT(core_->Detach(first.caller, first.id), IsOk());

  EXPECT_GT(Attach(1).id, first.id);
}

TEST_F(CoreSessionsTest, OnlyItsOwnProcessMaySpeakForASession) {
  const Attached session = Attach(10);

  EXPECT_THAT(core_->Detach(Process(11), session.id), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->Detach(Process(10, 1001), session.id), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->Detach(Administrator(), session.id), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->Detach(session.caller, session.id + 1), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->Detach(session.caller, session.id), IsOk());
}

TEST_F(CoreSessionsTest, ABrokenStreamFreesNothing) {
  const Attached session = Attach(1);
  EXPECT_THAT(core_->RegisterBuffer(session.caller, session.id, "host", 1, "b"), IsOk());

  core_->StreamClosed(session.id, session.sink.get());

  EXPECT_EQ(SessionBytes(session), kGranularity);
  EXPECT_FALSE(Everything().sessions[0].session.stream_open);
}

TEST_F(CoreSessionsTest, ResumeNeedsABrokenStreamAndTheSameProcess) {
  const Attached session = Attach(1);
  const auto sink = std::make_shared<RecordingSink>();
  EXPECT_THAT(core_->Resume(session.caller, 0, session.id, sink), StatusIs(StatusCode::kAlreadyExists));
  EXPECT_THAT(core_->Resume(session.caller, 0, 99, sink), StatusIs(StatusCode::kNotFound));
  core_->StreamClosed(session.id, session.sink.get());
  EXPECT_THAT(core_->Resume(Process(2), 0, session.id, sink), StatusIs(StatusCode::kPermissionDenied));

  EXPECT_THAT(core_->Resume(session.caller, 0, session.id, sink), IsOk());
  core_->StreamClosed(session.id, session.sink.get());  // late news of the old stream

  EXPECT_TRUE(Everything().sessions[0].session.stream_open);
}

TEST_F(CoreSessionsTest, TheEndOfTheProcessReturnsEverythingAndCountsAsDeath) {
  const Attached session = Attach(1);
  EXPECT_THAT(core_->RegisterBuffer(session.caller, session.id, "host", 5 * kGranularity, "b"), IsOk());
  EXPECT_EQ(script_->live_count(), 1);

  core_->ProcessEnded(session.id);
  core_->ProcessEnded(session.id);  // said goodbye before, or reported twice

  EXPECT_EQ(LeasedBytes(), 0);
  EXPECT_EQ(script_->live_count(), 0);
  EXPECT_THAT(Everything().sessions, IsEmpty());
  EXPECT_EQ(Everything().counters.sessions_died_total, 1U);
  EXPECT_EQ(Everything().devices[0].leased_bytes_peak, 5 * kGranularity);
  ASSERT_THAT(session.sink->Events<SessionEndedEvent>(), SizeIs(1));
}

TEST_F(CoreSessionsTest, AProcessThatHasBegunToEndIsDead) {
  const Attached session = Attach(1);
  EXPECT_THAT(core_->RegisterBuffer(session.caller, session.id, "host", 1, "b"), IsOk());

  core_->ProcessExiting(session.id);
  core_->ProcessEnded(session.id);

  EXPECT_EQ(LeasedBytes(), 0);
  EXPECT_THAT(Everything().sessions, IsEmpty());
  EXPECT_EQ(Everything().counters.sessions_died_total, 1U);
}

TEST_F(CoreSessionsTest, GoodbyeEndsTheStreamWithOk) {
  const Attached session = Attach(1);

  EXPECT_THAT(core_->Detach(session.caller, session.id), IsOk());

  ASSERT_THAT(session.sink->Events<SessionEndedEvent>(), SizeIs(1));
  EXPECT_THAT(session.sink->Events<SessionEndedEvent>()[0].status, IsOk());
  EXPECT_EQ(Everything().counters.sessions_died_total, 0U);
}

TEST_F(CoreSessionsTest, DrainingRefusesNewWorkAndTellsSessions) {
  const Attached session = Attach(1);

  EXPECT_THAT(core_->Drain(Administrator(), absl::Seconds(3)), IsOk());

  EXPECT_THAT(core_->Attach(Process(2), "", nullptr), StatusIs(StatusCode::kUnavailable));
  EXPECT_THAT(core_->RegisterBuffer(session.caller, session.id, "host", 1, ""), StatusIs(StatusCode::kUnavailable));
  EXPECT_THAT(Join(session, RankOf(0, 1)).status(), StatusIs(StatusCode::kUnavailable));
  ASSERT_THAT(session.sink->Events<DrainingEvent>(), SizeIs(1));
  EXPECT_EQ(session.sink->Events<DrainingEvent>()[0].timeout, absl::Seconds(3));
  EXPECT_THAT(core_->Undrain(Administrator()), IsOk());
  EXPECT_THAT(session.sink->Events<UndrainedEvent>(), SizeIs(1));
  EXPECT_THAT(core_->Attach(Process(2), "", nullptr), IsOk());
}

TEST_F(CoreSessionsTest, DrainTimeoutHasLimits) {
  EXPECT_THAT(core_->Drain(Administrator(), absl::Seconds(-1)), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(core_->Drain(Administrator(), absl::Hours(25)), StatusIs(StatusCode::kInvalidArgument, HasSubstr("24h")));
}

TEST_F(CoreSessionsTest, AdministrationIsForAdministrators) {
  const Caller anybody = Process(1);
  EXPECT_THAT(core_->Drain(anybody, absl::ZeroDuration()), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->Undrain(anybody), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->RevokeSession(anybody, 1), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->RevokeGroup(anybody, 1), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->RevokeBuffer(anybody, 1), StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(CoreSessionsTest, AStoppingDaemonCannotBeUndrained) {
  core_->BeginStop(absl::ZeroDuration());

  EXPECT_THAT(core_->Undrain(Administrator()), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(CoreSessionsTest, RevokeEndsASessionWithAborted) {
  const Attached session = Attach(1);
  EXPECT_THAT(core_->RevokeSession(Administrator(), session.id + 1), StatusIs(StatusCode::kNotFound));

  EXPECT_THAT(core_->RevokeSession(Administrator(), session.id), IsOk());

  ASSERT_THAT(session.sink->Events<SessionEndedEvent>(), SizeIs(1));
  EXPECT_THAT(session.sink->Events<SessionEndedEvent>()[0].status, StatusIs(StatusCode::kAborted));
  EXPECT_THAT(core_->Detach(session.caller, session.id), StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreSessionsTest, StatsShowOnlyTheOwnUid) {
  const Attached mine = Attach(1, 1000);
  Attach(2, 2000);

  const CoreSnapshot snapshot = core_->Snapshot(mine.caller, 0);

  ASSERT_THAT(snapshot.sessions, SizeIs(1));
  EXPECT_EQ(snapshot.sessions[0].session.session_id, mine.id);
  EXPECT_THAT(Everything().sessions, SizeIs(2));
}

}  // namespace
}  // namespace a8a::daemon
