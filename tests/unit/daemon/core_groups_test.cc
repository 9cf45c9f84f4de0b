#include <fcntl.h>
#include <sys/resource.h>

#include "kernels/include/flags_layout.h"
#include "kernels/include/limits.h"
#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class CoreGroupsTest : public CoreFixture {
 protected:
  static std::int64_t FlagsBytes(int world_size, int channel_count) {
    const auto size = static_cast<std::int64_t>(
        kernels::FlagsLayout{.world_size = world_size, .channel_count = channel_count, .block_count = 0}.size_bytes());
    return (size + kGranularity - 1) / kGranularity * kGranularity;
  }
};

TEST_F(CoreGroupsTest, BadJoinsNameFieldValueAndLimit) {
  const Attached session = Attach(1);
  const auto with = [](auto change) {
    JoinOptions options = RankOf(0, 2);
    change(options);
    return options;
  };
  const std::vector<std::pair<JoinOptions, std::string>> cases = {
      {with([](auto& o) { o.name = ""; }), "name is empty"},
      {with([](auto& o) { o.name = std::string(65, 'n'); }), "65 bytes long"},
      {with([](auto& o) { o.name = "a\x1b"; }), "not printable"},
      {with([](auto& o) { o.world_size = 0; }), "world_size is 0; it must be in [1, 64]"},
      {with([](auto& o) { o.world_size = 65; }), "world_size is 65"},
      {with([](auto& o) { o.rank = -1; }), "rank is -1; it must be in [0, 1]"},
      {with([](auto& o) { o.rank = 2; }), "rank is 2"},
      {with([](auto& o) { o.channel_count = 0; }), "channel_count is 0"},
      {with([](auto& o) { o.channel_count = 65; }), "channel_count is 65"},
      {with([](auto& o) { o.secret = std::string(65, 's'); }), "secret is 65 bytes long"},
      {with([](auto& o) { o.device = std::string(65, 'd'); }), "device is 65 bytes long"},
      {with([](auto& o) { o.device = "cuda:\n"; }), "not printable"},
  };
  for (const auto& [options, message] : cases) {
    EXPECT_THAT(Join(session, options).status(), StatusIs(StatusCode::kInvalidArgument, HasSubstr(message)));
  }
  EXPECT_THAT(Everything().groups, IsEmpty());
}

TEST_F(CoreGroupsTest, UnknownSessionAndDeviceAreNotFound) {
  const Attached session = Attach(1);
  JoinOptions options = RankOf(0, 1);
  options.device = "cuda:9";
  EXPECT_THAT(Join(session, options).status(), StatusIs(StatusCode::kNotFound, HasSubstr("cuda:9")));
  EXPECT_THAT(Join({.caller = session.caller, .id = 99, .sink = nullptr}, RankOf(0, 1)).status(),
              StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(Join({.caller = Process(2), .id = session.id, .sink = nullptr}, RankOf(0, 1)).status(),
              StatusIs(StatusCode::kPermissionDenied));
}

TEST_F(CoreGroupsTest, TheLastRankCompletesTheGroupForAll) {
  const auto sessions = AttachMany(3);
  const auto first = Join(sessions[0], RankOf(0, 3));
  const auto third = Join(sessions[2], RankOf(2, 3));
  EXPECT_FALSE(first.done());

  const auto second = Join(sessions[1], RankOf(1, 3));

  for (const auto& call : {first, second, third}) {
    ASSERT_THAT(call.status(), IsOk());
    EXPECT_EQ(call.grant().group.state, GroupState::kReady);
    EXPECT_THAT(call.grant().flags, SizeIs(3));
  }
  EXPECT_EQ(first.grant().group.ranks[2].session_id, sessions[2].id);
  EXPECT_EQ(SessionBytes(sessions[0]), FlagsBytes(3, 2));
  EXPECT_EQ(Everything().counters.groups_total, 1U);
}

TEST_F(CoreGroupsTest, EveryRankCanRedeemEveryTicketOfItsGrant) {
  const auto sessions = AttachMany(2);
  const auto first = Join(sessions[0], RankOf(0, 2));
  const auto second = Join(sessions[1], RankOf(1, 2));

  for (int i = 0; i < 2; ++i) {
    const JoinGrant& grant = i == 0 ? first.grant() : second.grant();
    const Attached& session = sessions[static_cast<std::size_t>(i)];
    for (const LeaseGrant& flags : grant.flags) {
      EXPECT_THAT(core_->RedeemTicket(session.caller.identity, session.id, flags.ticket.value), IsOk());
    }
    kernels::GroupControl* control = MapControl(session, grant.control);
    ASSERT_NE(control, nullptr);
    EXPECT_EQ(control->magic, kernels::kControlMagic);
    EXPECT_EQ(control->world_size, 2);
    EXPECT_EQ(control->group_id, grant.group.group_id);
  }
}

TEST_F(CoreGroupsTest, RanksMustAgree) {
  const auto sessions = AttachMany(2);
  const auto first = Join(sessions[0], RankOf(0, 3));
  const auto expect = [&](auto change, StatusCode code, const std::string& message) {
    JoinOptions options = RankOf(1, 3);
    change(options);
    EXPECT_THAT(Join(sessions[1], options).status(), StatusIs(code, HasSubstr(message)));
  };

  expect([](auto& o) { o.secret = "t"; }, StatusCode::kPermissionDenied, "secret");
  expect([](auto& o) { o.secret = ""; }, StatusCode::kPermissionDenied, "secret");
  expect([](auto& o) { o.world_size = 2; }, StatusCode::kFailedPrecondition, "world_size is 2, the group began with 3");
  expect([](auto& o) { o.channel_count = 5; }, StatusCode::kFailedPrecondition,
         "channel_count is 5, the group began with 2");
  expect([](auto& o) { o.device = "cuda:0"; }, StatusCode::kFailedPrecondition,
         "device kind is cuda, the group began with host");
  expect([](auto& o) { o.rank = 0; }, StatusCode::kAlreadyExists, "rank 0 is taken");
  EXPECT_FALSE(first.done());
}

TEST_F(CoreGroupsTest, ASessionIsOneRankAndACompleteGroupTakesNobody) {
  const auto sessions = AttachMany(3);
  const auto first = Join(sessions[0], RankOf(0, 2));
  EXPECT_THAT(Join(sessions[0], RankOf(1, 2)).status(),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("already is rank 0")));
  const auto second = Join(sessions[1], RankOf(1, 2));

  EXPECT_THAT(Join(sessions[2], RankOf(0, 2)).status(), StatusIs(StatusCode::kAlreadyExists, HasSubstr("is complete")));
}

TEST_F(CoreGroupsTest, NamesArePerUid) {
  const Attached one = Attach(1, 1000);
  const Attached two = Attach(2, 2000);

  EXPECT_THAT(Join(one, RankOf(0, 1)).status(), IsOk());
  EXPECT_THAT(Join(two, RankOf(0, 1)).status(), IsOk());

  A8A_ASSERT_OK_AND_ASSIGN(const auto groups, core_->ListGroups(one.caller, 0, 0));
  ASSERT_THAT(groups, SizeIs(1));
  EXPECT_THAT(core_->GetGroup(two.caller, groups[0].group_id), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->GetGroup(Administrator(), groups[0].group_id), IsOk());
  EXPECT_THAT(core_->GetGroup(one.caller, 99), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->ListGroups(one.caller, 0, -1), StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(CoreGroupsTest, TheGroupTableIsBounded) {
  MakeCore({.group_max = 1});
  const auto sessions = AttachMany(2);
  FormGroup({sessions[0]}, "one");

  EXPECT_THAT(Join(sessions[1], RankOf(0, 1, "two")).status(),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("limit is 1")));
}

TEST_F(CoreGroupsTest, ACancelledJoinTakesOnlyItsRankBack) {
  const auto sessions = AttachMany(3);
  const auto first = Join(sessions[0], RankOf(0, 2));
  const auto second = Join(sessions[1], RankOf(0, 2, "other"));

  EXPECT_TRUE(core_->CancelPending(first.pending_id, absl::DeadlineExceededError("too late")));
  EXPECT_FALSE(core_->CancelPending(first.pending_id, absl::CancelledError("")));

  EXPECT_THAT(first.status(), StatusIs(StatusCode::kDeadlineExceeded, "too late"));
  EXPECT_FALSE(second.done());
  EXPECT_THAT(Everything().groups, SizeIs(1)) << "an empty group is gone";
  FormGroup({sessions[0], sessions[2]});
}

TEST_F(CoreGroupsTest, TheDeathOfAWaitingRankLeavesTheOthersWaiting) {
  const auto sessions = AttachMany(3);
  const auto first = Join(sessions[0], RankOf(0, 2));
  core_->ProcessEnded(sessions[0].id);
  EXPECT_THAT(first.status(), StatusIs(StatusCode::kAborted, HasSubstr("rank 0 died")));
  const auto second = Join(sessions[1], RankOf(1, 2));
  EXPECT_FALSE(second.done());

  EXPECT_THAT(Join(sessions[2], RankOf(0, 2)).status(), IsOk());
  EXPECT_THAT(second.status(), IsOk());
}

TEST_F(CoreGroupsTest, TheDeathOfARankEndsTheGroupAndNamesIt) {
  const auto sessions = AttachMany(3);
  Join(sessions[0], RankOf(0, 3));
  Join(sessions[2], RankOf(2, 3));
  const auto join = Join(sessions[1], RankOf(1, 3));
  kernels::GroupControl* control = MapControl(sessions[1], join.grant().control);
  ASSERT_NE(control, nullptr);

  core_->ProcessEnded(sessions[2].id);

  EXPECT_EQ(control->abort_word, kernels::MakeAbortWord(kernels::AbortReason::kRankDied, 2));
  const auto events = sessions[0].sink->Events<GroupAbortedEvent>();
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].rank, 2);
  EXPECT_EQ(events[0].reason, EndReason::kRankDied);
  A8A_ASSERT_OK_AND_ASSIGN(const GroupInfo group, core_->GetGroup(sessions[0].caller, events[0].group_id));
  EXPECT_EQ(group.state, GroupState::kAborted);
  EXPECT_EQ(group.end_rank, 2);
  EXPECT_EQ(LeasedBytes(), 2 * FlagsBytes(3, 2));
}

TEST_F(CoreGroupsTest, TheNameOfAnEndedGroupIsFreeAtOnce) {
  const auto sessions = AttachMany(3);
  const std::uint64_t ended = FormGroup({sessions[0], sessions[1]});
  core_->ProcessEnded(sessions[1].id);

  const std::uint64_t again = FormGroup({sessions[2]});

  EXPECT_NE(again, ended);
  EXPECT_THAT(core_->GetGroup(sessions[0].caller, ended), IsOk()) << "it lives until its last rank has left";
  EXPECT_THAT(core_->LeaveGroup(sessions[0].caller, sessions[0].id, ended), IsOk());
  EXPECT_THAT(core_->GetGroup(sessions[0].caller, ended), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->GetGroup(sessions[2].caller, again), IsOk());
}

TEST_F(CoreGroupsTest, LeavingSetsNoAbortWordButTellsWhoWaits) {
  const auto sessions = AttachMany(2);
  Join(sessions[0], RankOf(0, 2));
  const auto join = Join(sessions[1], RankOf(1, 2));
  kernels::GroupControl* control = MapControl(sessions[1], join.grant().control);
  ASSERT_NE(control, nullptr);

  EXPECT_THAT(core_->LeaveGroup(sessions[0].caller, sessions[0].id, join.grant().group.group_id), IsOk());

  EXPECT_EQ(control->abort_word, 0U);
  EXPECT_EQ(control->left_mask, 1U);
  ASSERT_THAT(sessions[1].sink->Events<GroupAbortedEvent>(), SizeIs(1));
  EXPECT_EQ(sessions[1].sink->Events<GroupAbortedEvent>()[0].reason, EndReason::kRankLeft);
  EXPECT_THAT(sessions[0].sink->Events<GroupAbortedEvent>(), IsEmpty());
}

TEST_F(CoreGroupsTest, LeaveAndAbortAreForRanksOnly) {
  const auto sessions = AttachMany(2);
  const std::uint64_t group_id = FormGroup({sessions[0]});

  EXPECT_THAT(core_->LeaveGroup(sessions[1].caller, sessions[1].id, group_id), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->LeaveGroup(sessions[0].caller, sessions[0].id, 99), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->LeaveGroup(sessions[0].caller, 99, group_id), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->LeaveGroup(sessions[1].caller, sessions[0].id, group_id), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->AbortGroup(sessions[1].caller, sessions[0].id, group_id, ""),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->AbortGroup(sessions[0].caller, 99, group_id, ""), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->AbortGroup(sessions[0].caller, sessions[0].id, group_id, "a\tb"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("not printable")));
  EXPECT_THAT(core_->AbortGroup(sessions[1].caller, sessions[1].id, group_id, ""),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->AbortGroup(sessions[0].caller, sessions[0].id, 99, ""), StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreGroupsTest, AbortCarriesItsMessageAndHappensOnce) {
  const auto sessions = AttachMany(2);
  const std::uint64_t group_id = FormGroup(sessions);
  const Attached& rank0 = sessions[0];
  EXPECT_THAT(core_->AbortGroup(rank0.caller, rank0.id, group_id, std::string(257, 'm')),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("257")));

  EXPECT_THAT(core_->AbortGroup(rank0.caller, rank0.id, group_id, "bad input"), IsOk());

  ASSERT_THAT(sessions[1].sink->Events<GroupAbortedEvent>(), SizeIs(1));
  EXPECT_THAT(sessions[1].sink->Events<GroupAbortedEvent>()[0].text, HasSubstr("rank 0 aborted it: bad input"));
  EXPECT_THAT(core_->AbortGroup(rank0.caller, rank0.id, group_id, ""),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("rank 0 aborted it")));
}

TEST_F(CoreGroupsTest, AFailedAllocationFailsEveryJoinAndLeavesNothing) {
  constexpr int kWorldSize = 3;
  for (int failing = 0; failing < kWorldSize; ++failing) {
    const auto sessions = AttachMany(kWorldSize);
    script_->FailAllocations(1, absl::ResourceExhaustedError("no pages"), failing);
    std::vector<Waiting<JoinGrant>> calls;
    for (int rank = 0; rank < kWorldSize; ++rank) {
      calls.push_back(Join(sessions[static_cast<std::size_t>(rank)], RankOf(rank, kWorldSize)));
    }

    for (const auto& call : calls) EXPECT_THAT(call.status(), StatusIs(StatusCode::kResourceExhausted, "no pages"));
    EXPECT_EQ(LeasedBytes(), 0);
    EXPECT_EQ(script_->live_count(), 0);
    EXPECT_THAT(Everything().groups, IsEmpty());
    FormGroup(sessions);
    core_->EndEverything();
  }
}

TEST_F(CoreGroupsTest, ThePoolLimitFailsEveryJoinBeforeAnythingIsAllocated) {
  const auto sessions = AttachMany(2);
  EXPECT_THAT(core_->RegisterBuffer(sessions[0].caller, sessions[0].id, "host", kPoolLimit - kGranularity, ""), IsOk());
  const auto first = Join(sessions[0], RankOf(0, 2));
  const auto second = Join(sessions[1], RankOf(1, 2));

  EXPECT_THAT(first.status(), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(second.status(), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(LeasedBytes(), kPoolLimit - kGranularity);
}

TEST_F(CoreGroupsTest, NoDescriptorForTheControlSegmentFailsEveryJoinAndLeavesNothing) {
  const auto sessions = AttachMany(2);
  const auto first = Join(sessions[0], RankOf(0, 2));
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const UniqueFd lowest_free(open("/dev/null", O_RDONLY | O_CLOEXEC));
  // Room for this one's and the second rank's flags, not for what comes after them.
  const rlimit few = {.rlim_cur = static_cast<rlim_t>(lowest_free.get()) + 3, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);

  const auto second = Join(sessions[1], RankOf(1, 2));

  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(first.status(), StatusIs(StatusCode::kResourceExhausted, HasSubstr("Too many open files")));
  EXPECT_THAT(second.status(), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_EQ(LeasedBytes(), 0);
  EXPECT_EQ(script_->live_count(), 0);
  FormGroup(sessions);
}

TEST_F(CoreGroupsTest, AGroupThatFormsCanBeAbortedAndRevoked) {
  const auto sessions = AttachMany(1);
  const auto aborted = Join(sessions[0], RankOf(0, 2));
  A8A_ASSERT_OK_AND_ASSIGN(const auto forming, core_->ListGroups(Administrator(), 0, 0));
  EXPECT_THAT(core_->AbortGroup(sessions[0].caller, sessions[0].id, forming[0].group_id, "enough"), IsOk());
  const auto revoked = Join(sessions[0], RankOf(0, 2));
  A8A_ASSERT_OK_AND_ASSIGN(const auto again, core_->ListGroups(Administrator(), 0, 0));
  EXPECT_THAT(core_->RevokeGroup(Administrator(), again[0].group_id), IsOk());

  EXPECT_THAT(aborted.status(), StatusIs(StatusCode::kAborted, HasSubstr("rank 0 aborted it: enough")));
  EXPECT_THAT(revoked.status(), StatusIs(StatusCode::kAborted, HasSubstr("an administrator revoked it")));
  EXPECT_THAT(Everything().groups, IsEmpty());
}

TEST_F(CoreGroupsTest, ADeathInTheLastStepEndsTheJoinForAll) {
  const auto sessions = AttachMany(2);
  script_->OnAllocate([&] { core_->ProcessEnded(sessions[0].id); });
  const auto first = Join(sessions[0], RankOf(0, 2));
  const auto second = Join(sessions[1], RankOf(1, 2));
  script_->OnAllocate(nullptr);

  EXPECT_THAT(first.status(), StatusIs(StatusCode::kAborted));
  EXPECT_THAT(second.status(), StatusIs(StatusCode::kAborted, HasSubstr("rank 0 died")));
  EXPECT_EQ(LeasedBytes(), 0);
  EXPECT_EQ(script_->live_count(), 0);
  FormGroup({sessions[1]});
}

TEST_F(CoreGroupsTest, AJoinThatCompletesCanNoLongerBeCancelled) {
  const auto sessions = AttachMany(2);
  const auto first = Join(sessions[0], RankOf(0, 2));
  bool cancelled = true;
  script_->OnAllocate([&] { cancelled = core_->CancelPending(first.pending_id, absl::CancelledError("")); });
  const auto second = Join(sessions[1], RankOf(1, 2));
  script_->OnAllocate(nullptr);

  EXPECT_FALSE(cancelled);
  EXPECT_THAT(first.status(), IsOk());
}

TEST_F(CoreGroupsTest, DrainEndsFormingGroupsAtOnceAndReadyOnesAfterTheTimeout) {
  const auto sessions = AttachMany(3);
  const std::uint64_t ready = FormGroup({sessions[0], sessions[1]}, "ready");
  const auto forming = Join(sessions[2], RankOf(0, 2, "forming"));

  A8A_ASSERT_OK_AND_ASSIGN(const Core::Load load, core_->Drain(Administrator(), absl::Seconds(5)));

  EXPECT_EQ(load.group_count, 1);
  EXPECT_THAT(forming.status(), StatusIs(StatusCode::kUnavailable));
  clock_.Advance(absl::Seconds(4));
  core_->Tick();
  EXPECT_EQ(core_->load().group_count, 1);
  clock_.Advance(absl::Seconds(1));
  core_->Tick();
  EXPECT_EQ(core_->load().group_count, 0);
  A8A_ASSERT_OK_AND_ASSIGN(const GroupInfo group, core_->GetGroup(sessions[0].caller, ready));
  EXPECT_EQ(group.end_reason, EndReason::kDrained);
  EXPECT_EQ(group.end_rank, -1);
}

TEST_F(CoreGroupsTest, RevokeEndsAGroupForAllRanks) {
  const auto sessions = AttachMany(2);
  const std::uint64_t group_id = FormGroup(sessions);
  A8A_ASSERT_OK_AND_ASSIGN(const auto buffers, core_->ListBuffers(Administrator(), 0, 0));
  EXPECT_THAT(core_->RevokeBuffer(Administrator(), buffers[0].buffer_id), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(
      core_->ReleaseBuffer(sessions[0].caller, buffers[0].session_id, buffers[0].buffer_id, buffers[0].generation),
      StatusIs(StatusCode::kFailedPrecondition, HasSubstr("serves group")));
  EXPECT_THAT(core_->RevokeGroup(Administrator(), 99), StatusIs(StatusCode::kNotFound));

  EXPECT_THAT(core_->RevokeGroup(Administrator(), group_id), IsOk());

  for (const Attached& session : sessions) EXPECT_THAT(session.sink->Events<GroupAbortedEvent>(), SizeIs(1));
  EXPECT_THAT(core_->RevokeGroup(Administrator(), group_id), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(CoreGroupsTest, CallbacksMayCallBackIntoTheCore) {
  const Attached session = Attach(1);
  absl::Status left = absl::UnknownError("not called");
  core_->JoinGroup(session.caller, session.id, RankOf(0, 1), [&](absl::StatusOr<JoinGrant> grant) {
    ASSERT_THAT(grant, IsOk());
    left = core_->LeaveGroup(session.caller, session.id, grant->group.group_id);
  });

  EXPECT_THAT(left, IsOk());
  EXPECT_THAT(Everything().groups, IsEmpty());
}

TEST_F(CoreGroupsTest, TrafficOfAGroupThatIsGoneStaysInTheTotal) {
  const Attached session = Attach(1);
  const auto join = Join(session, RankOf(0, 1));
  kernels::GroupControl* control = MapControl(session, join.grant().control);
  ASSERT_NE(control, nullptr);
  const kernels::ControlLayout layout = {.world_size = 1, .channel_count = 2};
  auto* channel =
      reinterpret_cast<kernels::ChannelControl*>(reinterpret_cast<std::byte*>(control) + layout.ChannelOffset(0, 1));
  channel->epoch = 1;
  channel->all_to_alls = 5;
  channel->errors[4] = 2;
  ASSERT_THAT(Everything().groups, SizeIs(1));
  EXPECT_EQ(Everything().groups[0].traffic.all_to_alls, 5U);
  EXPECT_EQ(Everything().counters.ended_groups.all_to_alls, 0U);

  ASSERT_THAT(core_->LeaveGroup(session.caller, session.id, join.grant().group.group_id), IsOk());

  const CoreCounters counters = Everything().counters;
  EXPECT_EQ(counters.ended_groups.all_to_alls, 5U);
  EXPECT_EQ(counters.ended_groups.errors[4], 2U);
  EXPECT_EQ(counters.groups_ended_total[static_cast<std::size_t>(EndReason::kRankLeft)], 1U);
}

TEST_F(CoreGroupsTest, StatsReadTheCountersThatARankWrote) {
  const Attached session = Attach(1);
  const auto join = Join(session, RankOf(0, 1));
  kernels::GroupControl* control = MapControl(session, join.grant().control);
  ASSERT_NE(control, nullptr);
  const kernels::ControlLayout layout = {.world_size = 1, .channel_count = 2};
  auto* base = reinterpret_cast<std::byte*>(control);
  auto* channel = reinterpret_cast<kernels::ChannelControl*>(base + layout.ChannelOffset(0, 1));
  channel->epoch = 9;
  channel->bytes_sent = 77;
  channel->done_wait.counts[5] = 3;
  channel->errors[4] = 2;
  auto* rank = reinterpret_cast<kernels::RankControl*>(base + layout.RankOffset(0));
  rank->windows[6] = {.all_to_alls = 1, .rows = 2, .bytes = 3, .reserved = 0};

  const CoreSnapshot snapshot = core_->Snapshot(session.caller, join.grant().group.group_id);

  ASSERT_THAT(snapshot.groups, SizeIs(1));
  EXPECT_EQ(snapshot.groups[0].control_bytes, static_cast<std::int64_t>(layout.size_bytes()));
  const RankSnapshot& read = snapshot.groups[0].ranks.at(0);
  ASSERT_THAT(read.channels, SizeIs(1)) << "channels that were not used are left out";
  EXPECT_EQ(read.channels[0].channel, 1);
  EXPECT_EQ(read.channels[0].bytes_sent, 77U);
  EXPECT_EQ(read.channels[0].done_wait.counts[5], 3U);
  EXPECT_EQ(read.channels[0].errors[4], 2U);
  ASSERT_THAT(read.windows, SizeIs(1));
  EXPECT_EQ(read.windows[0].first, 6);
  EXPECT_EQ(read.windows[0].second.bytes, 3U);
  EXPECT_EQ(read.leased_bytes, FlagsBytes(1, 2));
}

}  // namespace
}  // namespace a8a::daemon
