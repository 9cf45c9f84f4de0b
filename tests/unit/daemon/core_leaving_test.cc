// Ranks leave one after the other while others still run all-to-alls among themselves; what ends the group for those.

#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using kernels::AbortReason;
using testing::HasSubstr;
using testing::SizeIs;

class CoreLeavingTest : public CoreFixture {
 protected:
  static constexpr int kWorldSize = 3;

  void SetUp() override {
    CoreFixture::SetUp();
    sessions_ = AttachMany(kWorldSize);
    Join(sessions_[0], RankOf(0, kWorldSize));
    Join(sessions_[2], RankOf(2, kWorldSize));
    const auto join = Join(sessions_[1], RankOf(1, kWorldSize));
    ASSERT_THAT(join.status(), IsOk());
    group_id_ = join.grant().group.group_id;
    control_ = MapControl(sessions_[1], join.grant().control);
    ASSERT_NE(control_, nullptr);
  }

  absl::Status Leave(int rank) {
    const Attached& session = sessions_[static_cast<std::size_t>(rank)];
    return core_->LeaveGroup(session.caller, session.id, group_id_);
  }
  absl::Status Abort(int rank, const std::string& message) {
    const Attached& session = sessions_[static_cast<std::size_t>(rank)];
    return core_->AbortGroup(session.caller, session.id, group_id_, message);
  }
  std::vector<EndReason> ReasonsTold(int rank) {
    std::vector<EndReason> reasons;
    for (const auto& event : sessions_[static_cast<std::size_t>(rank)].sink->Events<GroupAbortedEvent>()) {
      reasons.push_back(event.reason);
    }
    return reasons;
  }

  std::vector<Attached> sessions_;
  std::uint64_t group_id_ = 0;
  kernels::GroupControl* control_ = nullptr;
};

// A rank that waits looks at left_mask too: a bit there would make it report that the dead rank has left.
TEST_F(CoreLeavingTest, ADeathIsNeverTakenForLeaving) {
  core_->ProcessEnded(sessions_[2].id);
  EXPECT_THAT(Leave(0), IsOk());

  EXPECT_EQ(control_->abort_word, kernels::MakeAbortWord(AbortReason::kRankDied, 2));
  EXPECT_EQ(control_->left_mask, 0U);
}

TEST_F(CoreLeavingTest, ADeathAfterOthersHaveLeftEndsTheGroupForThoseWhoStay) {
  EXPECT_THAT(Leave(0), IsOk());
  EXPECT_EQ(control_->abort_word, 0U);

  core_->ProcessEnded(sessions_[2].id);

  EXPECT_EQ(control_->abort_word, kernels::MakeAbortWord(AbortReason::kRankDied, 2));
  EXPECT_EQ(control_->left_mask, 1U);
  EXPECT_THAT(ReasonsTold(1), testing::ElementsAre(EndReason::kRankLeft, EndReason::kRankDied));
  A8A_ASSERT_OK_AND_ASSIGN(const GroupInfo group, core_->GetGroup(sessions_[1].caller, group_id_));
  EXPECT_EQ(group.end_reason, EndReason::kRankDied);
  EXPECT_EQ(group.end_rank, 2);
}

TEST_F(CoreLeavingTest, ARankThatStaysCanStillAbortOnce) {
  EXPECT_THAT(Leave(0), IsOk());

  EXPECT_THAT(Abort(1, "bad input"), IsOk());

  EXPECT_EQ(control_->abort_word, kernels::MakeAbortWord(AbortReason::kAbortedByRank, 1));
  EXPECT_THAT(ReasonsTold(2), testing::ElementsAre(EndReason::kRankLeft, EndReason::kAbortedByRank));
  EXPECT_THAT(Abort(2, ""), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("rank 1 aborted it: bad input")));
  EXPECT_THAT(Register(sessions_[1], group_id_, "w", 1).status(),
              StatusIs(StatusCode::kAborted, HasSubstr("rank 1 aborted it: bad input")));
}

TEST_F(CoreLeavingTest, ItCanStillBeRevokedOnce) {
  EXPECT_THAT(Leave(0), IsOk());

  EXPECT_THAT(core_->RevokeGroup(Administrator(), group_id_), IsOk());

  EXPECT_EQ(control_->abort_word, kernels::MakeAbortWord(AbortReason::kRevoked, -1));
  EXPECT_THAT(core_->RevokeGroup(Administrator(), group_id_), StatusIs(StatusCode::kFailedPrecondition));
}

// A daemon that is told to stop when the first rank has left must not cut the others' last all-to-all short.
TEST_F(CoreLeavingTest, ItCountsAsRunningUntilTheLastRankHasLeftOrTheDrainTimeoutHasPassed) {
  EXPECT_THAT(Leave(0), IsOk());
  core_->BeginStop(absl::Seconds(5));
  EXPECT_EQ(core_->load().group_count, 1);
  EXPECT_THAT(Leave(1), IsOk());
  EXPECT_EQ(core_->load().group_count, 1);
  EXPECT_EQ(control_->abort_word, 0U);

  clock_.Advance(absl::Seconds(5));
  core_->Tick();

  EXPECT_EQ(core_->load().group_count, 0);
  EXPECT_EQ(control_->abort_word, kernels::MakeAbortWord(AbortReason::kDrained, -1));
}

TEST_F(CoreLeavingTest, WhenAllHaveLeftNothingIsLeftAndNobodyWasAborted) {
  for (int rank = 0; rank < kWorldSize; ++rank) EXPECT_THAT(Leave(rank), IsOk());

  EXPECT_EQ(control_->abort_word, 0U);
  EXPECT_EQ(control_->left_mask, 7U);
  EXPECT_EQ(LeasedBytes(), 0);
  EXPECT_THAT(ReasonsTold(2), SizeIs(1)) << "one event, not one for each rank";
}

TEST_F(CoreLeavingTest, ALeaseOfADeadRankIsFenced) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto buffers, core_->ListBuffers(Administrator(), 0, 0));
  const std::uint64_t dead_ranks = buffers.back().buffer_id;
  ASSERT_EQ(buffers.back().session_id, sessions_[2].id);
  const Attached& peer = sessions_[0];
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant before, core_->IssueTicket(peer.caller, peer.id, dead_ranks));

  core_->ProcessEnded(sessions_[2].id);

  EXPECT_THAT(core_->IssueTicket(peer.caller, peer.id, dead_ranks), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->RedeemTicket(peer.caller.identity, peer.id, before.ticket.value), StatusIs(StatusCode::kNotFound));
}

}  // namespace
}  // namespace a8a::daemon
