// What a core leaves to the next one, and how that becomes whole again.
#include <fcntl.h>
#include <unistd.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "daemon/core/core_state.h"
#include "daemon/memory/shared_memory.h"
#include "daemon/snapshot.h"
#include "gmock/gmock.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Keeps what a state file and a service manager would. Descriptors only if it is told to.
class RecordingKeeper final : public StateKeeper {
 public:
  void Save(const CoreState& state) override {
    saved = state;
    ++save_count;
  }
  void Keep(const std::string& key, int fd) override {
    if (keeps_descriptors) descriptors[key] = UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    keys.insert(key);
  }
  void Drop(const std::string& key) override {
    descriptors.erase(key);
    keys.erase(key);
  }

  bool keeps_descriptors = false;
  CoreState saved;
  int save_count = 0;
  std::map<std::string, UniqueFd> descriptors;
  std::set<std::string> keys;
};

class CoreRestoreTest : public CoreFixture {
 protected:
  void SetUp() override { MakeCore({.keeper = &keeper_}); }

  // The daemon is killed, and another takes up what was saved: through its bytes, as in a file.
  std::vector<SessionInfo> Restart() {
    // The old core must neither tell anybody nor save any more.
    const auto state = ParseSnapshot(SerializeSnapshot(keeper_.saved, "boot"), "boot");
    EXPECT_THAT(state, IsOk());
    core_->LetGo();
    MakeCore({.keeper = &keeper_});
    auto sessions = core_->Restore(*state, &keeper_.descriptors);
    EXPECT_THAT(sessions, IsOk());
    return sessions.ok() ? *std::move(sessions) : std::vector<SessionInfo>();
  }

  UniqueFd Fetch(const Attached& session, const TicketGrant& ticket) {
    auto redeemed = core_->RedeemTicket(session.caller.identity, session.id, ticket.value);
    EXPECT_THAT(redeemed, IsOk());
    return redeemed.ok() ? std::move(redeemed->fd) : UniqueFd();
  }

  LeaseGrant Lease(const Attached& session, std::int64_t size_bytes) {
    auto grant = core_->RegisterBuffer(session.caller, session.id, "host", size_bytes, "b");
    EXPECT_THAT(grant, IsOk());
    return grant.ok() ? *grant : LeaseGrant();
  }

  absl::Status HandBack(const Attached& session, const BufferInfo& buffer, UniqueFd fd) {
    return core_->HandBackBuffer(session.caller.identity, session.id, buffer.buffer_id, buffer.generation, &fd);
  }
  absl::Status Done(const Attached& session) { return core_->HandBackDone(session.caller.identity, session.id); }

  // A group of two, with what each rank would hand back.
  struct Pair {
    std::vector<Attached> sessions;
    std::uint64_t group_id = 0;
    UniqueFd control;
    std::vector<BufferInfo> flags;  // [r]
    std::vector<UniqueFd> flags_fds;
  };
  Pair MakePair() {
    Pair pair;
    pair.sessions = AttachMany(2);
    const auto first = Join(pair.sessions[0], RankOf(0, 2));
    const auto second = Join(pair.sessions[1], RankOf(1, 2));
    EXPECT_THAT(first.status(), IsOk());
    pair.group_id = first.grant().group.group_id;
    pair.control = Fetch(pair.sessions[0], first.grant().control);
    for (int rank = 0; rank < 2; ++rank) {
      const LeaseGrant& flags = first.grant().flags[static_cast<std::size_t>(rank)];
      pair.flags.push_back(flags.buffer);
      pair.flags_fds.push_back(Fetch(pair.sessions[0], flags.ticket));
    }
    return pair;
  }

  absl::Status HandBackRank(Pair* pair, std::size_t rank) {
    const Attached& session = pair->sessions[rank];
    const absl::Status flags = HandBack(session, pair->flags[rank], std::move(pair->flags_fds[rank]));
    if (!flags.ok()) return flags;
    UniqueFd control(::fcntl(pair->control.get(), F_DUPFD_CLOEXEC, 0));
    const absl::Status group = core_->HandBackControl(session.caller.identity, session.id, pair->group_id, &control);
    return group.ok() ? Done(session) : group;
  }

  static kernels::GroupControl* Map(const UniqueFd& control) {
    const kernels::ControlLayout layout = {.world_size = 2, .channel_count = 2};
    void* const base = ::mmap(nullptr, layout.size_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, control.get(), 0);
    return base == MAP_FAILED ? nullptr : static_cast<kernels::GroupControl*>(base);
  }

  RecordingKeeper keeper_;
};

TEST_F(CoreRestoreTest, EveryChangeIsSavedBeforeTheCallReturns) {
  const Attached session = Attach(7);
  EXPECT_EQ(keeper_.saved.sessions.size(), 1U);
  const LeaseGrant lease = Lease(session, 10000);
  ASSERT_EQ(keeper_.saved.leases.size(), 1U);
  EXPECT_EQ(keeper_.saved.leases[0].buffer.buffer_id, lease.buffer.buffer_id);
  EXPECT_THAT(keeper_.keys, ElementsAre(BufferKey(lease.buffer.buffer_id)));
  ASSERT_THAT(core_->ReleaseBuffer(session.caller, session.id, lease.buffer.buffer_id, lease.buffer.generation),
              IsOk());
  EXPECT_THAT(keeper_.saved.leases, IsEmpty());
  EXPECT_THAT(keeper_.keys, IsEmpty());
  ASSERT_THAT(core_->Detach(session.caller, session.id), IsOk());
  EXPECT_THAT(keeper_.saved.sessions, IsEmpty());
}

TEST_F(CoreRestoreTest, ASessionIsResumedWithItsLeaseOnceTheDescriptorIsBack) {
  const Attached session = Attach(7);
  const LeaseGrant lease = Lease(session, 10000);
  UniqueFd fd = Fetch(session, lease.ticket);
  const std::uint64_t state_id = core_->state_id();

  EXPECT_EQ(Restart().size(), 1U);
  EXPECT_EQ(core_->state_id(), state_id);
  EXPECT_EQ(LeasedBytes(), 12288);
  EXPECT_EQ(SessionBytes(session), 12288);
  EXPECT_THAT(core_->IssueTicket(session.caller, session.id, lease.buffer.buffer_id),
              StatusIs(StatusCode::kUnavailable, HasSubstr("has yet to hand its descriptor back")));
  A8A_ASSERT_OK_AND_ASSIGN(const SessionInfo resumed,
                           core_->Resume(session.caller, state_id, session.id, session.sink));
  EXPECT_TRUE(resumed.hands_back);
  ASSERT_THAT(HandBack(session, lease.buffer, std::move(fd)), IsOk());
  ASSERT_THAT(Done(session), IsOk());

  EXPECT_THAT(core_->IssueTicket(session.caller, session.id, lease.buffer.buffer_id), IsOk());
  EXPECT_THAT(Done(session), StatusIs(StatusCode::kFailedPrecondition));
  const LeaseGrant next = Lease(session, 1);
  EXPECT_GT(next.buffer.buffer_id, lease.buffer.buffer_id);
  EXPECT_GT(next.buffer.generation, lease.buffer.generation);
}

TEST_F(CoreRestoreTest, WhatTheClientDoesNotNameEnds) {
  const Attached session = Attach(7);
  const LeaseGrant held = Lease(session, 1);
  const LeaseGrant lost = Lease(session, 1);
  UniqueFd fd = Fetch(session, held.ticket);

  Restart();
  ASSERT_THAT(HandBack(session, held.buffer, std::move(fd)), IsOk());
  ASSERT_THAT(Done(session), IsOk());

  EXPECT_THAT(core_->GetBuffer(session.caller, session.id, held.buffer.buffer_id), IsOk());
  EXPECT_THAT(core_->GetBuffer(session.caller, session.id, lost.buffer.buffer_id), StatusIs(StatusCode::kNotFound));
  EXPECT_EQ(LeasedBytes(), kGranularity);
}

// The client was told of its lease, and not of the restart: it was NOT_FOUND, as if the daemon had not kept its word.
TEST_F(CoreRestoreTest, ATicketOfTheDaemonBeforeIsUnavailable) {
  const Attached session = Attach(7);
  const LeaseGrant lease = Lease(session, 1);
  Restart();

  EXPECT_THAT(core_->RedeemTicket(session.caller.identity, session.id, lease.ticket.value),
              StatusIs(StatusCode::kUnavailable, HasSubstr("restarted")));

  EXPECT_THAT(Done(session), IsOk());
  EXPECT_THAT(core_->RedeemTicket(session.caller.identity, session.id, lease.ticket.value),
              StatusIs(StatusCode::kNotFound, HasSubstr("no such ticket")));
}

TEST_F(CoreRestoreTest, OnlyTheRightDescriptorIsTakenBack) {
  const Attached session = Attach(7);
  const Attached other = Attach(8);
  const LeaseGrant lease = Lease(session, 1);
  UniqueFd right = Fetch(session, lease.ticket);
  UniqueFd wrong_size = Fetch(session, Lease(session, 2 * kGranularity).ticket);
  UniqueFd same_size = Fetch(session, Lease(session, 1).ticket);
  int ends[2] = {};
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd pipe_write(ends[1]);

  Restart();
  EXPECT_THAT(HandBack(session, lease.buffer, UniqueFd(ends[0])), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(HandBack(session, lease.buffer, std::move(wrong_size)), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(HandBack(session, lease.buffer, std::move(same_size)),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("another memfd")));
  BufferInfo stale = lease.buffer;
  --stale.generation;
  EXPECT_THAT(HandBack(session, stale, UniqueFd(::dup(right.get()))), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(HandBack(other, lease.buffer, UniqueFd(::dup(right.get()))), StatusIs(StatusCode::kNotFound));
  Attached thief = session;
  thief.caller = Process(8);
  EXPECT_THAT(HandBack(thief, lease.buffer, UniqueFd(::dup(right.get()))), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(HandBack(session, lease.buffer, std::move(right)), IsOk());
}

TEST_F(CoreRestoreTest, AGroupGoesOnAndItsCountersAreBack) {
  Pair pair = MakePair();
  const int window = FormWindow(pair.sessions, pair.group_id, "w", kGranularity);
  const std::int64_t leased = LeasedBytes();

  Restart();
  const auto group = core_->GetGroup(pair.sessions[0].caller, pair.group_id);
  ASSERT_THAT(group, IsOk());
  EXPECT_EQ(group->state, GroupState::kReady);
  EXPECT_THAT(group->ranks, testing::SizeIs(2));
  ASSERT_THAT(group->windows, testing::SizeIs(1));
  EXPECT_EQ(group->windows[0].window_index, window);
  EXPECT_EQ(LeasedBytes(), leased);
  EXPECT_EQ(Everything().groups[0].ranks[1].leased_bytes, leased / 2);

  ASSERT_THAT(HandBackRank(&pair, 0), IsOk());
  ASSERT_THAT(HandBackRank(&pair, 1), IsOk());
  // Their parts of the window they did not name: both have lost it, and its memory is free.
  EXPECT_THAT(core_->GetGroup(pair.sessions[0].caller, pair.group_id)->windows, IsEmpty());
  EXPECT_GE(FormWindow(pair.sessions, pair.group_id, "w", kGranularity), 0);
  // The name is still the group's.
  EXPECT_THAT(Join(Attach(9), RankOf(0, 2)).status(), StatusIs(StatusCode::kAlreadyExists));
}

TEST_F(CoreRestoreTest, ARankThatDiedMeanwhileEndsTheGroupOnceTheControlSegmentIsBack) {
  Pair pair = MakePair();
  const auto* const control = Map(pair.control);
  ASSERT_NE(control, nullptr);

  Restart();
  core_->ProcessEnded(pair.sessions[1].id);
  EXPECT_EQ(control->abort_word, 0U);
  ASSERT_THAT(HandBackRank(&pair, 0), IsOk());

  EXPECT_EQ(control->abort_word, kernels::MakeAbortWord(kernels::AbortReason::kRankDied, 1));
  ASSERT_THAT(core_->Resume(pair.sessions[0].caller, 0, pair.sessions[0].id, pair.sessions[0].sink), IsOk());
  const auto aborted = pair.sessions[0].sink->Events<GroupAbortedEvent>();
  ASSERT_THAT(aborted, testing::SizeIs(1));
  EXPECT_EQ(aborted[0].rank, 1);
  // The name is free at once.
  EXPECT_NE(FormGroup({Attach(20), Attach(21)}), 0U);
}

TEST_F(CoreRestoreTest, ARankWhoseJoinWasLostLeavesTheGroup) {
  Pair pair = MakePair();
  const auto* const control = Map(pair.control);

  Restart();
  ASSERT_THAT(Done(pair.sessions[1]), IsOk());
  ASSERT_THAT(HandBackRank(&pair, 0), IsOk());

  EXPECT_EQ(control->abort_word, 0U);
  EXPECT_EQ(control->left_mask, 2U);
  EXPECT_EQ(core_->GetGroup(pair.sessions[0].caller, pair.group_id)->end_reason, EndReason::kRankLeft);
}

TEST_F(CoreRestoreTest, AKeptDescriptorNeedsNoHandBack) {
  keeper_.keeps_descriptors = true;
  Pair pair = MakePair();
  const auto* const control = Map(pair.control);
  const LeaseGrant lease = Lease(pair.sessions[0], 1);

  Restart();
  EXPECT_THAT(core_->IssueTicket(pair.sessions[0].caller, pair.sessions[0].id, lease.buffer.buffer_id), IsOk());
  core_->ProcessEnded(pair.sessions[1].id);

  EXPECT_EQ(control->abort_word, kernels::MakeAbortWord(kernels::AbortReason::kRankDied, 1));
}

TEST_F(CoreRestoreTest, ASessionThatNobodyWatchesAndNobodyResumesEnds) {
  const Attached gone = Attach(7);
  const Attached back = Attach(8);
  Lease(gone, 1);

  Restart();
  for (const Attached& session : {gone, back}) core_->ExpectResume(session.id, clock_.Now() + absl::Seconds(10));
  ASSERT_THAT(core_->Resume(back.caller, 0, back.id, back.sink), IsOk());
  core_->Tick();
  EXPECT_EQ(Everything().sessions.size(), 2U);
  clock_.Advance(absl::Seconds(10));
  core_->Tick();

  ASSERT_EQ(Everything().sessions.size(), 1U);
  EXPECT_EQ(Everything().sessions[0].session.session_id, back.id);
  EXPECT_EQ(LeasedBytes(), 0);
}

TEST_F(CoreRestoreTest, AnIdOfADaemonWhoseStateWasLostIsUnknown) {
  const Attached session = Attach(7);
  const std::uint64_t state_id = core_->state_id();
  MakeCore({.keeper = &keeper_});
  const Attached next = Attach(7);
  ASSERT_EQ(next.id, session.id);
  core_->StreamClosed(next.id, next.sink.get());

  EXPECT_THAT(core_->Resume(session.caller, state_id, session.id, session.sink),
              StatusIs(StatusCode::kNotFound, HasSubstr("state was lost")));
}

TEST_F(CoreRestoreTest, CallsThatWaitWhenTheDaemonHandsOverAreUnavailableAndNothingEnds) {
  Pair pair = MakePair();
  const auto* const control = Map(pair.control);
  const auto joining = Join(pair.sessions[0], RankOf(0, 2, "other"));
  const auto registering = Register(pair.sessions[0], pair.group_id, "w", 1);

  core_->LetGo();

  EXPECT_THAT(joining.status(), StatusIs(StatusCode::kUnavailable));
  EXPECT_THAT(registering.status(), StatusIs(StatusCode::kUnavailable));
  EXPECT_EQ(control->abort_word, 0U);
  EXPECT_EQ(keeper_.saved.sessions.size(), 2U);
  EXPECT_EQ(keeper_.saved.groups.size(), 1U);
  EXPECT_THAT(core_->RegisterBuffer(pair.sessions[0].caller, pair.sessions[0].id, "host", 1, ""),
              StatusIs(StatusCode::kUnavailable));
  const auto ended = pair.sessions[0].sink->Events<SessionEndedEvent>();
  ASSERT_THAT(ended, testing::SizeIs(1));
  EXPECT_THAT(ended[0].status, StatusIs(StatusCode::kUnavailable));
}

// Each way in which a state can contradict itself; the core stays empty and serves.
TEST_F(CoreRestoreTest, AStateThatContradictsItselfIsRefusedAsAWhole) {
  Pair pair = MakePair();
  FormWindow(pair.sessions, pair.group_id, "w", kGranularity);
  Lease(pair.sessions[0], 1);
  const CoreState good = keeper_.saved;
  const std::vector<std::pair<std::string, std::function<void(CoreState*)>>> faults = {
      {"session twice", [](CoreState* s) { s->sessions.push_back(s->sessions[0]); }},
      {"session id to come", [](CoreState* s) { s->next_session_id = s->sessions[0].session_id; }},
      {"lease without session", [](CoreState* s) { s->leases.back().buffer.session_id = 99; }},
      {"lease of no bytes", [](CoreState* s) { s->leases.back().buffer.size_bytes = 0; }},
      {"lease twice", [](CoreState* s) { s->leases.push_back(s->leases[0]); }},
      {"buffer id to come", [](CoreState* s) { s->next_buffer_id = 1; }},
      {"generation to come", [](CoreState* s) { s->next_generation = 1; }},
      {"lease of a group that does not know it", [](CoreState* s) { s->leases.back().buffer.group_id = 1; }},
      {"group twice", [](CoreState* s) { s->groups.push_back(s->groups[0]); }},
      {"group id to come", [](CoreState* s) { s->next_group_id = 1; }},
      {"no rank", [](CoreState* s) { s->groups[0].members.clear(); }},
      {"a rank too few", [](CoreState* s) { s->groups[0].members.pop_back(); }},
      {"a rank beyond the world", [](CoreState* s) { s->groups[0].members[1].rank = 2; }},
      {"a rank twice", [](CoreState* s) { s->groups[0].members[1] = s->groups[0].members[0]; }},
      {"flags of another rank",
       [](CoreState* s) {
         std::swap(s->groups[0].members[0].flags_buffer_id, s->groups[0].members[1].flags_buffer_id);
       }},
      {"too large a world", [](CoreState* s) { s->groups[0].world_size = 1 << 20; }},
      {"too many channels", [](CoreState* s) { s->groups[0].channel_count = 1 << 20; }},
      {"a part too few", [](CoreState* s) { s->groups[0].windows[0].parts.pop_back(); }},
      {"a part without its lease", [](CoreState* s) { s->groups[0].windows[0].parts[0].buffer_id = 99; }},
      {"a window that all have released",
       [](CoreState* s) {
         for (WindowPartState& part : s->groups[0].windows[0].parts) part.released = true;
       }},
      {"a window index beyond the limit", [](CoreState* s) { s->groups[0].windows[0].window_index = 1 << 20; }},
      {"blame beyond the world", [](CoreState* s) { s->groups[0].end_rank = 2; }},
  };
  for (const auto& [name, spoil] : faults) {
    CoreState bad = good;
    spoil(&bad);
    MakeCore();
    EXPECT_THAT(core_->Restore(bad, &keeper_.descriptors), StatusIs(StatusCode::kInvalidArgument)) << name;
    EXPECT_THAT(Everything().sessions, IsEmpty()) << name;
    EXPECT_NE(Attach(1).id, 0U) << name;
  }
  CoreState elsewhere = good;
  elsewhere.leases[0].device_uuid = "GPU-gone";
  MakeCore();
  EXPECT_THAT(core_->Restore(elsewhere, &keeper_.descriptors),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("GPU-gone")));
  MakeCore();
  EXPECT_THAT(core_->Restore(good, &keeper_.descriptors), IsOk());
}

}  // namespace
}  // namespace a8a::daemon
