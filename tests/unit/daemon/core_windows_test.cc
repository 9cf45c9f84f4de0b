#include "kernels/include/limits.h"
#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class CoreWindowsTest : public CoreFixture {
 protected:
  void SetUp() override {
    CoreFixture::SetUp();
    sessions_ = AttachMany(2);
    group_id_ = FormGroup(sessions_);
    flags_bytes_ = LeasedBytes();
  }

  std::vector<Attached> sessions_;
  std::uint64_t group_id_ = 0;
  std::int64_t flags_bytes_ = 0;
};

TEST_F(CoreWindowsTest, BadRequestsNameFieldValueAndLimit) {
  EXPECT_THAT(Register(sessions_[0], group_id_, "w", 0).status(), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(Register(sessions_[0], group_id_, "w", kMaxBufferBytes + 1).status(),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(Register(sessions_[0], group_id_, "", 1).status(), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(Register(sessions_[0], group_id_, std::string(65, 'w'), 1).status(),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(Register(sessions_[0], 99, "w", 1).status(), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(Register(Attach(1), group_id_, "w", 1).status(), StatusIs(StatusCode::kPermissionDenied));
  const Attached unknown = {.caller = sessions_[0].caller, .id = 99, .sink = nullptr};
  EXPECT_THAT(Register(unknown, group_id_, "w", 1).status(), StatusIs(StatusCode::kNotFound));
  const Attached impostor = {.caller = Process(7), .id = sessions_[0].id, .sink = nullptr};
  EXPECT_THAT(Register(impostor, group_id_, "w", 1).status(), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_EQ(LeasedBytes(), flags_bytes_);
}

TEST_F(CoreWindowsTest, EveryRankGetsEveryPartAndSizesMayDiffer) {
  const auto first = Register(sessions_[0], group_id_, "w", 1);
  EXPECT_FALSE(first.done());
  EXPECT_EQ(LeasedBytes(), flags_bytes_) << "nothing is leased before all have come";

  const auto second = Register(sessions_[1], group_id_, "w", 3 * kGranularity);

  ASSERT_THAT(first.status(), IsOk());
  ASSERT_THAT(second.status(), IsOk());
  EXPECT_EQ(first.grant().window_index, second.grant().window_index);
  ASSERT_THAT(first.grant().buffers, SizeIs(2));
  EXPECT_EQ(first.grant().buffers[1].buffer.size_bytes, 3 * kGranularity);
  EXPECT_EQ(first.grant().buffers[1].buffer.session_id, sessions_[1].id);
  for (const LeaseGrant& part : first.grant().buffers) {
    EXPECT_THAT(core_->RedeemTicket(sessions_[0].caller.identity, sessions_[0].id, part.ticket.value), IsOk());
  }
  // A peer may ask for another ticket, nobody else.
  const std::uint64_t peer_part = first.grant().buffers[1].buffer.buffer_id;
  EXPECT_THAT(core_->IssueTicket(sessions_[0].caller, sessions_[0].id, peer_part), IsOk());
  const Attached stranger = Attach(1);
  EXPECT_THAT(core_->IssueTicket(stranger.caller, stranger.id, peer_part), StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(CoreWindowsTest, ANameIsRegisteredOnceByEachRank) {
  const auto first = Register(sessions_[0], group_id_, "w", 1);
  EXPECT_THAT(Register(sessions_[0], group_id_, "w", 1).status(), StatusIs(StatusCode::kAlreadyExists));
  EXPECT_THAT(Register(sessions_[1], group_id_, "w", 1).status(), IsOk());
  EXPECT_THAT(Register(sessions_[1], group_id_, "w", 1).status(), StatusIs(StatusCode::kAlreadyExists));
}

TEST_F(CoreWindowsTest, MemoryGoesBackWhenTheLastRankReleases) {
  const int index = FormWindow(sessions_, group_id_, "w", kGranularity);
  EXPECT_EQ(LeasedBytes(), flags_bytes_ + 2 * kGranularity);
  const auto release = [&](int rank) {
    const Attached& session = sessions_[static_cast<std::size_t>(rank)];
    return core_->ReleaseWindow(session.caller, session.id, group_id_, index);
  };

  EXPECT_THAT(release(0), IsOk());
  EXPECT_EQ(LeasedBytes(), flags_bytes_ + 2 * kGranularity) << "rank 1 may still store into it";
  EXPECT_THAT(release(0), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(release(1), IsOk());

  EXPECT_EQ(LeasedBytes(), flags_bytes_);
  EXPECT_THAT(release(1), StatusIs(StatusCode::kNotFound));
  EXPECT_EQ(FormWindow(sessions_, group_id_, "w", 1), index) << "name and index are free again";
}

TEST_F(CoreWindowsTest, ReleaseIsForRanksOnly) {
  const int index = FormWindow(sessions_, group_id_, "w", 1);
  const Attached stranger = Attach(1);

  EXPECT_THAT(core_->ReleaseWindow(stranger.caller, stranger.id, group_id_, index),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->ReleaseWindow(stranger.caller, sessions_[0].id, group_id_, index),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->ReleaseWindow(stranger.caller, 99, group_id_, index), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->ReleaseWindow(sessions_[0].caller, sessions_[0].id, 99, index), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->ReleaseWindow(sessions_[0].caller, sessions_[0].id, group_id_, -1),
              StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreWindowsTest, SixtyFourWindowsAreTheLimit) {
  for (int i = 0; i < kMaxWindows; ++i) {
    EXPECT_EQ(FormWindow(sessions_, group_id_, "w" + std::to_string(i), 1), i);
  }

  EXPECT_THAT(Register(sessions_[0], group_id_, "one more", 1).status(),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("64")));
}

TEST_F(CoreWindowsTest, AFailedAllocationGivesNobodyAWindow) {
  for (int failing = 0; failing < 2; ++failing) {
    script_->FailAllocations(1, absl::ResourceExhaustedError("no pages"), failing);
    const auto first = Register(sessions_[0], group_id_, "w", 1);
    const auto second = Register(sessions_[1], group_id_, "w", 1);

    EXPECT_THAT(first.status(), StatusIs(StatusCode::kResourceExhausted, "no pages"));
    EXPECT_THAT(second.status(), StatusIs(StatusCode::kResourceExhausted, "no pages"));
    EXPECT_EQ(LeasedBytes(), flags_bytes_);
  }
  FormWindow(sessions_, group_id_, "w", 1);
}

TEST_F(CoreWindowsTest, ThePoolLimitGivesNobodyAWindow) {
  const auto first = Register(sessions_[0], group_id_, "w", kPoolLimit / 2);
  const auto second = Register(sessions_[1], group_id_, "w", kPoolLimit / 2);

  EXPECT_THAT(first.status(), StatusIs(StatusCode::kResourceExhausted, HasSubstr("pool limit")));
  EXPECT_THAT(second.status(), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(LeasedBytes(), flags_bytes_);
}

TEST_F(CoreWindowsTest, NoRoomForTicketsGivesNobodyAWindow) {
  MakeCore({.ticket_max_per_session = 4, .ticket_lifetime = absl::Seconds(10)});
  sessions_ = AttachMany(2);
  group_id_ = FormGroup(sessions_);  // three tickets for each
  const auto first = Register(sessions_[0], group_id_, "w", 1);
  const auto second = Register(sessions_[1], group_id_, "w", 1);

  EXPECT_THAT(first.status(), StatusIs(StatusCode::kResourceExhausted, HasSubstr("3 outstanding tickets")));
  EXPECT_THAT(second.status(), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(LeasedBytes(), flags_bytes_);
  clock_.Advance(absl::Seconds(10));
  FormWindow(sessions_, group_id_, "w", 1);
}

TEST_F(CoreWindowsTest, StatsShowWhatEachRankHoldsAndHeld) {
  const int index = FormWindow(sessions_, group_id_, "w", 5 * kGranularity);
  for (const Attached& session : sessions_) {
    EXPECT_THAT(core_->ReleaseWindow(session.caller, session.id, group_id_, index), IsOk());
  }

  const CoreSnapshot snapshot = core_->Snapshot(sessions_[0].caller, group_id_);

  for (const RankSnapshot& rank : snapshot.groups.at(0).ranks) {
    EXPECT_EQ(rank.leased_bytes, flags_bytes_ / 2);
    EXPECT_EQ(rank.leased_bytes_peak, flags_bytes_ / 2 + 5 * kGranularity);
  }
  EXPECT_THAT(core_->Snapshot(sessions_[0].caller, 99).groups, IsEmpty());
}

TEST_F(CoreWindowsTest, ACancelledRegistrationTakesOnlyItsPartBack) {
  const auto first = Register(sessions_[0], group_id_, "w", 1);
  EXPECT_TRUE(core_->CancelPending(first.pending_id, absl::DeadlineExceededError("late")));
  EXPECT_THAT(first.status(), StatusIs(StatusCode::kDeadlineExceeded));
  const auto second = Register(sessions_[1], group_id_, "w", 1);
  EXPECT_FALSE(second.done());

  EXPECT_THAT(Register(sessions_[0], group_id_, "w", 1).status(), IsOk());
  EXPECT_THAT(second.status(), IsOk());
}

TEST_F(CoreWindowsTest, TheEndOfTheGroupEndsWaitingRegistrations) {
  const auto first = Register(sessions_[0], group_id_, "w", 1);

  core_->ProcessEnded(sessions_[1].id);

  EXPECT_THAT(first.status(), StatusIs(StatusCode::kAborted, HasSubstr("rank 1 died")));
  EXPECT_THAT(Register(sessions_[0], group_id_, "w", 1).status(), StatusIs(StatusCode::kAborted));
}

TEST_F(CoreWindowsTest, TheEndOfTheGroupDuringTheAllocationLeaksNothing) {
  const auto first = Register(sessions_[0], group_id_, "w", 1);
  script_->OnAllocate([&] { core_->ProcessEnded(sessions_[0].id); });
  const auto second = Register(sessions_[1], group_id_, "w", 1);
  script_->OnAllocate(nullptr);

  EXPECT_THAT(first.status(), StatusIs(StatusCode::kAborted));
  EXPECT_THAT(second.status(), StatusIs(StatusCode::kAborted));
  EXPECT_EQ(LeasedBytes(), flags_bytes_ / 2);
}

TEST_F(CoreWindowsTest, ADeadRanksPartGoesBackAtOnceASurvivorsWithItsRelease) {
  const int index = FormWindow(sessions_, group_id_, "w", kGranularity);

  core_->ProcessEnded(sessions_[1].id);

  EXPECT_EQ(LeasedBytes(), flags_bytes_ / 2 + kGranularity);
  EXPECT_THAT(core_->ReleaseWindow(sessions_[0].caller, sessions_[0].id, group_id_, index), IsOk());
  EXPECT_EQ(LeasedBytes(), flags_bytes_ / 2);
}

TEST_F(CoreWindowsTest, LeavingReleasesTheRanksParts) {
  FormWindow(sessions_, group_id_, "w", kGranularity);

  EXPECT_THAT(core_->LeaveGroup(sessions_[0].caller, sessions_[0].id, group_id_), IsOk());
  EXPECT_EQ(LeasedBytes(), flags_bytes_ / 2 + 2 * kGranularity) << "rank 1 may still store into it";
  EXPECT_THAT(core_->LeaveGroup(sessions_[1].caller, sessions_[1].id, group_id_), IsOk());

  EXPECT_EQ(LeasedBytes(), 0);
}

TEST_F(CoreWindowsTest, WindowsMayStillBeRegisteredWhileDraining) {
  EXPECT_THAT(core_->Drain(Administrator(), absl::ZeroDuration()), IsOk());

  EXPECT_EQ(FormWindow(sessions_, group_id_, "w", 1), 0);
}

}  // namespace
}  // namespace a8a::daemon
