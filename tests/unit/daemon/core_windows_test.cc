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

// --- Memory of a rank's own ---

class CoreUserMemoryTest : public CoreFixture {
 protected:
  static CoreOptions AllowUserMemory() {
    CoreOptions options;
    options.policy = [] { return CorePolicy{.user_memory = true}; };
    return options;
  }
  void SetUp() override { Form(AllowUserMemory(), "cuda:0"); }
  void TearDown() override {
    sessions_.clear();
    CoreFixture::TearDown();
  }

  void Form(const CoreOptions& options, const std::string& device) {
    MakeCore(options);
    sessions_ = AttachMany(2);
    for (int rank = 0; rank < 2; ++rank) {
      JoinOptions join = RankOf(rank, 2);
      join.device = device;
      const auto call = Join(sessions_[static_cast<std::size_t>(rank)], join);
      if (rank == 1) group_id_ = call.grant().group.group_id;
    }
    leased_bytes_ = GpuLeasedBytes();
  }
  [[nodiscard]] std::int64_t GpuLeasedBytes() const { return Everything().devices[1].leased_bytes; }
  static WindowOptions Own(std::size_t handle_bytes = kIpcHandleBytes, std::int64_t offset_bytes = 512) {
    return {.name = "w",
            .size_bytes = 1000,
            .user_memory = UserMemory{.ipc_handle = std::string(handle_bytes, 'h'), .offset_bytes = offset_bytes}};
  }

  std::vector<Attached> sessions_;
  std::uint64_t group_id_ = 0;
  std::int64_t leased_bytes_ = 0;
};

TEST_F(CoreUserMemoryTest, RanksMayMixTheirOwnMemoryWithThePool) {
  const auto own = Register(sessions_[0], group_id_, Own());
  const auto pool = Register(sessions_[1], group_id_, "w", 5000);
  ASSERT_THAT(own.status(), IsOk());
  ASSERT_THAT(pool.status(), IsOk());

  for (const WindowGrant* grant : {&own.grant(), &pool.grant()}) {
    ASSERT_THAT(grant->buffers, SizeIs(2));
    const LeaseGrant& first = grant->buffers[0];
    ASSERT_TRUE(first.user_memory.has_value());
    EXPECT_EQ(first.user_memory->ipc_handle, std::string(kIpcHandleBytes, 'h'));
    EXPECT_EQ(first.user_memory->offset_bytes, 512);
    EXPECT_EQ(first.buffer.size_bytes, 1000);
    EXPECT_EQ(first.buffer.buffer_id, 0U);
    EXPECT_EQ(first.buffer.device, "cuda:0");
    EXPECT_EQ(first.buffer.session_id, sessions_[0].id);
    const LeaseGrant& second = grant->buffers[1];
    EXPECT_FALSE(second.user_memory.has_value());
    EXPECT_NE(second.buffer.buffer_id, 0U);
    EXPECT_EQ(second.buffer.size_bytes, 2 * kGranularity);
    const Attached& session = sessions_[grant == &own.grant() ? 0 : 1];
    EXPECT_THAT(core_->RedeemTicket(session.caller.identity, session.id, second.ticket.value).status(), IsOk());
  }
  EXPECT_EQ(GpuLeasedBytes(), leased_bytes_ + 2 * kGranularity);

  for (const Attached& session : sessions_) {
    EXPECT_THAT(core_->ReleaseWindow(session.caller, session.id, group_id_, own.grant().window_index), IsOk());
  }
  EXPECT_EQ(GpuLeasedBytes(), leased_bytes_);
}

// What a dying rank has started on its device may still store into it, and its owner may use it again at once.
TEST_F(CoreUserMemoryTest, AGroupWithOneOutlivesARankUntilItsProcessHasEnded) {
  const auto own = Register(sessions_[0], group_id_, Own());
  ASSERT_THAT(Register(sessions_[1], group_id_, "w", 5000).status(), IsOk());
  ASSERT_THAT(own.status(), IsOk());

  core_->ProcessExiting(sessions_[1].id);
  EXPECT_EQ(Everything().sessions.size(), 2U);
  EXPECT_EQ(Everything().groups[0].group.state, GroupState::kReady);

  core_->ProcessEnded(sessions_[1].id);
  EXPECT_EQ(Everything().sessions.size(), 1U);
  EXPECT_EQ(Everything().groups[0].group.state, GroupState::kAborted);
}

TEST_F(CoreUserMemoryTest, BadHandlesAreRefused) {
  EXPECT_THAT(Register(sessions_[0], group_id_, Own(63)).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("63 bytes; it has 64")));
  EXPECT_THAT(Register(sessions_[0], group_id_, Own(kIpcHandleBytes, -1)).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("offset_bytes")));
  EXPECT_THAT(Register(sessions_[0], group_id_, Own(kIpcHandleBytes, kMaxBufferBytes + 1)).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("offset_bytes")));
}

TEST_F(CoreUserMemoryTest, HostGroupsHaveNone) {
  Form(AllowUserMemory(), "host");
  EXPECT_THAT(Register(sessions_[0], group_id_, Own()).status(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("on the host")));
}

TEST_F(CoreUserMemoryTest, WithoutLeaveItIsRefused) {
  Form({}, "cuda:0");
  EXPECT_THAT(Register(sessions_[0], group_id_, Own()).status(),
              StatusIs(StatusCode::kPermissionDenied, HasSubstr("legacy_ipc")));
}

}  // namespace
}  // namespace a8a::daemon
