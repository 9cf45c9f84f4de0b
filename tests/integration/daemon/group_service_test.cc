// GroupService through the real sockets: every error that the proto names, cancellation, and what ranks see of each
// other.
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/peer_process.h"

namespace a8a::testing {
namespace {

using ::testing::AllOf;
using ::testing::Ne;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
// Long enough for the daemon to have seen the call, short enough for a test.
constexpr absl::Duration kShortDeadline = absl::Milliseconds(100);

class GroupServiceTest : public DaemonTest {
 protected:
  GroupServiceTest() { flags_ = {"--host-pool-bytes=64MiB", "--group-max=4"}; }

  void SetUp() override {
    DaemonTest::SetUp();
    first_ = client_->Attach("rank 0");
    second_ = client_->Attach("rank 1");
  }

  v1::JoinGroupRequest Request() { return JoinRequest(*first_, "g", /*rank=*/0, /*world_size=*/2); }
  grpc::Status JoinStatus(const v1::JoinGroupRequest& request, absl::Duration timeout = kPatience) {
    v1::JoinGroupResponse response;
    return Join(request, &response, timeout);
  }
  // Begins a join and waits until the daemon knows of it.
  std::future<grpc::Status> BeginJoin(const v1::JoinGroupRequest& request) {
    const int ranks_before = FormingRanks();
    auto join = std::async(std::launch::async, [this, request] { return JoinStatus(request); });
    EXPECT_TRUE(Eventually([&] { return FormingRanks() > ranks_before; }));
    return join;
  }
  int FormingRanks() {
    int count = 0;
    for (const v1::Group& group : Groups()) {
      if (group.state() == v1::GROUP_STATE_FORMING) count += group.ranks_size();
    }
    return count;
  }
  std::vector<v1::Group> Groups() {
    v1::ListGroupsResponse response;
    EXPECT_THAT(Call(client_->group.get(), &v1::GroupService::Stub::ListGroups, v1::ListGroupsRequest(), &response),
                IsOk());
    return {response.groups().begin(), response.groups().end()};
  }
  grpc::Status ReleaseWindow(const Session& session, std::uint64_t group_id, int window_index) {
    v1::ReleaseWindowRequest request;
    v1::ReleaseWindowResponse response;
    request.set_session_id(session.id());
    request.set_group_id(group_id);
    request.set_window_index(window_index);
    return Call(client_->group.get(), &v1::GroupService::Stub::ReleaseWindow, request, &response);
  }
  grpc::Status Abort(std::uint64_t session_id, std::uint64_t group_id, const std::string& message) {
    v1::AbortGroupRequest request;
    v1::AbortGroupResponse response;
    request.set_session_id(session_id);
    request.set_group_id(group_id);
    request.set_message(message);
    return Call(client_->group.get(), &v1::GroupService::Stub::AbortGroup, request, &response);
  }
  grpc::Status WindowStatus(std::uint64_t session_id, std::uint64_t group_id, const std::string& name,
                            std::int64_t size_bytes, absl::Duration timeout = kPatience) {
    v1::RegisterWindowResponse response;
    return RegisterWindow(session_id, group_id, name, size_bytes, &response, timeout);
  }

  // Of a window on the rank's own memory, in a group of one.
  grpc::Status OwnMemoryStatus() {
    v1::RegisterWindowRequest request;
    v1::RegisterWindowResponse response;
    request.set_session_id(first_->id());
    request.set_group_id(MustFormGroup("g", {first_.get()}).group().group_id());
    request.set_name("own");
    request.set_size_bytes(1);
    request.mutable_user_memory()->set_ipc_handle(std::string(64, 'h'));
    return Call(client_->group.get(), &v1::GroupService::Stub::RegisterWindow, request, &response);
  }

  std::unique_ptr<Session> first_;
  std::unique_ptr<Session> second_;
};

// --- JoinGroup ---

TEST_F(GroupServiceTest, EveryRankSeesTheWholeGroup) {
  v1::JoinGroupRequest second_request = JoinRequest(*second_, "g", /*rank=*/1, /*world_size=*/2);
  v1::JoinGroupResponse as_first;
  v1::JoinGroupResponse as_second;
  auto first_join = std::async(std::launch::async, [&] { return Join(Request(), &as_first); });
  ASSERT_THAT(Join(second_request, &as_second), IsOk());
  ASSERT_THAT(first_join.get(), IsOk());

  for (const v1::JoinGroupResponse* response : {&as_first, &as_second}) {
    EXPECT_EQ(response->group().state(), v1::GROUP_STATE_READY);
    EXPECT_EQ(response->group().world_size(), 2);
    EXPECT_EQ(response->group().channel_count(), 8) << "the default";
    ASSERT_EQ(response->group().ranks_size(), 2);
    EXPECT_EQ(response->group().ranks(0).session_id(), first_->id());
    EXPECT_EQ(response->group().ranks(1).session_id(), second_->id());
    EXPECT_EQ(response->group().end_rank(), -1);
    ASSERT_EQ(response->flags_size(), 2);
    EXPECT_EQ(response->flags(0).rank(), 0);
    EXPECT_EQ(response->flags(1).rank(), 1);
    EXPECT_GT(response->control().size_bytes(), 0);
  }
  EXPECT_EQ(as_first.group().group_id(), as_second.group().group_id());
  EXPECT_NE(as_first.control().value(), as_second.control().value()) << "a ticket is for one session";
}

TEST_F(GroupServiceTest, BadJoinArgumentsAreInvalid) {
  const auto with = [&](auto change) {
    v1::JoinGroupRequest request = Request();
    change(&request);
    return JoinStatus(request, kShortDeadline);
  };

  EXPECT_THAT(with([](auto* r) { r->set_name(""); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_name(std::string(65, 'x')); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_name("a\nb"); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_world_size(0); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_world_size(65); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_rank(-1); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_rank(2); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_channel_count(-1); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_channel_count(65); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(with([](auto* r) { r->set_secret(std::string(65, 'x')); }), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(GroupServiceTest, JoinWithAnUnknownSessionOrDeviceIsNotFound) {
  v1::JoinGroupRequest session = Request();
  session.set_session_id(12345);
  v1::JoinGroupRequest device = Request();
  device.set_device("cuda:7");

  EXPECT_THAT(JoinStatus(session, kShortDeadline), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(JoinStatus(device, kShortDeadline), HasCode(grpc::StatusCode::NOT_FOUND));
}

TEST_F(GroupServiceTest, AnotherProcessesSessionOrAWrongSecretIsDenied) {
  v1::JoinGroupRequest request = Request();
  request.set_secret("right");
  std::future<grpc::Status> waiting = BeginJoin(request);
  v1::JoinGroupRequest wrong = JoinRequest(*second_, "g", 1, 2);
  wrong.set_secret("wrong");
  PeerProcess peer(daemon_->grpc_address());

  EXPECT_THAT(JoinStatus(wrong, kShortDeadline), HasCode(grpc::StatusCode::PERMISSION_DENIED));
  EXPECT_EQ(peer.Command("join " + std::to_string(second_->id()) + " h 0 1"), "PERMISSION_DENIED");

  wrong.set_secret("right");
  EXPECT_THAT(JoinStatus(wrong), IsOk());
  EXPECT_THAT(waiting.get(), IsOk());
}

TEST_F(GroupServiceTest, ATakenRankAndASecondRankOfOneSessionAreRefused) {
  std::future<grpc::Status> waiting = BeginJoin(Request());

  EXPECT_THAT(JoinStatus(JoinRequest(*second_, "g", 0, 2), kShortDeadline), HasCode(grpc::StatusCode::ALREADY_EXISTS));
  EXPECT_THAT(JoinStatus(JoinRequest(*first_, "g", 1, 2), kShortDeadline), HasCode(grpc::StatusCode::ALREADY_EXISTS));

  EXPECT_THAT(JoinStatus(JoinRequest(*second_, "g", 1, 2)), IsOk());
  EXPECT_THAT(waiting.get(), IsOk());
  EXPECT_THAT(JoinStatus(JoinRequest(*client_->Attach(), "g", 1, 2), kShortDeadline),
              HasCode(grpc::StatusCode::ALREADY_EXISTS))
      << "the group is complete";
}

TEST_F(GroupServiceTest, RanksThatDisagreeAreToldBothValues) {
  std::future<grpc::Status> waiting = BeginJoin(Request());
  v1::JoinGroupRequest channels = JoinRequest(*second_, "g", 1, 2);
  channels.set_channel_count(3);

  EXPECT_THAT(JoinStatus(JoinRequest(*second_, "g", 1, 5), kShortDeadline),
              AllOf(HasCodeAndText(grpc::StatusCode::FAILED_PRECONDITION, "2"),
                    HasCodeAndText(grpc::StatusCode::FAILED_PRECONDITION, "5")));
  EXPECT_THAT(JoinStatus(channels, kShortDeadline), AllOf(HasCodeAndText(grpc::StatusCode::FAILED_PRECONDITION, "8"),
                                                          HasCodeAndText(grpc::StatusCode::FAILED_PRECONDITION, "3")));

  EXPECT_THAT(JoinStatus(JoinRequest(*second_, "g", 1, 2)), IsOk());
  EXPECT_THAT(waiting.get(), IsOk());
}

TEST_F(GroupServiceTest, TheGroupLimitIsNamed) {
  for (int i = 0; i < 4; ++i) MustFormGroup("g" + std::to_string(i), {first_.get()});

  EXPECT_THAT(JoinStatus(JoinRequest(*first_, "one too many", 0, 1)),
              HasCodeAndText(grpc::StatusCode::RESOURCE_EXHAUSTED, "4"));
}

TEST_F(GroupServiceTest, ADrainingDaemonTakesNoJoin) {
  ASSERT_THAT(Drain(), IsOk());

  EXPECT_THAT(JoinStatus(Request()), HasCode(grpc::StatusCode::UNAVAILABLE));
}

TEST_F(GroupServiceTest, ADeadlineTakesTheRankBackAndTheOthersGoOnWaiting) {
  std::future<grpc::Status> waiting = BeginJoin(Request());
  v1::JoinGroupRequest late = JoinRequest(*second_, "g", 1, 2);
  late.set_world_size(2);
  const std::unique_ptr<Session> third = client_->Attach();
  // A group of three of which two come: the second one gives up.
  std::future<grpc::Status> other = BeginJoin(JoinRequest(*third, "h", 0, 3));

  EXPECT_THAT(JoinStatus(JoinRequest(*second_, "h", 1, 3), kShortDeadline),
              HasCode(grpc::StatusCode::DEADLINE_EXCEEDED));

  EXPECT_TRUE(Eventually([&] { return FormingRanks() == 2; }));
  EXPECT_THAT(JoinStatus(late), IsOk());
  EXPECT_THAT(waiting.get(), IsOk());
  third->Break();
  EXPECT_THAT(third->Finish(), HasCode(grpc::StatusCode::CANCELLED));
  v1::RevokeRequest revoke;
  revoke.set_session_id(third->id());
  EXPECT_THAT(Revoke(revoke), IsOk());
  EXPECT_FALSE(other.get().ok());
}

TEST_F(GroupServiceTest, ACancelledJoinCanBeTriedAgain) {
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    v1::JoinGroupResponse response;
    auto join =
        std::async(std::launch::async, [&] { return client_->group->JoinGroup(&context, Request(), &response); });
    // Cancels at any point of the call's life, before it arrives included.
    if (i % 2 == 0) {
      EXPECT_TRUE(Eventually([&] { return FormingRanks() == 1; }));
    }
    context.TryCancel();
    EXPECT_THAT(join.get(), HasCode(grpc::StatusCode::CANCELLED));
    EXPECT_TRUE(Eventually([&] { return FormingRanks() == 0; }));
  }

  MustFormGroup("g", {first_.get(), second_.get()});
}

TEST_F(GroupServiceTest, AWaitingJoinEndsWithTheSession) {
  PeerProcess peer(daemon_->grpc_address());
  const std::string attached = peer.Command("attach");
  peer.Begin("join " + attached.substr(3) + " g 0 2");
  ASSERT_TRUE(Eventually([&] { return FormingRanks() == 1; }));

  peer.Kill(SIGKILL);

  EXPECT_TRUE(Eventually([&] { return Groups().empty(); }));
  MustFormGroup("g", {first_.get(), second_.get()});
}

// --- RegisterWindow, ReleaseWindow ---

TEST_F(GroupServiceTest, AWindowHasOneIndexAndEveryRanksSize) {
  const v1::JoinGroupResponse group = MustFormGroup("g", {first_.get(), second_.get()});
  const std::uint64_t id = group.group().group_id();
  v1::RegisterWindowResponse as_first;
  v1::RegisterWindowResponse as_second;
  auto call = std::async(std::launch::async, [&] { return RegisterWindow(first_->id(), id, "out", kMiB, &as_first); });
  ASSERT_THAT(RegisterWindow(second_->id(), id, "out", 2 * kMiB, &as_second), IsOk());
  ASSERT_THAT(call.get(), IsOk());

  EXPECT_EQ(as_first.window_index(), as_second.window_index());
  for (const v1::RegisterWindowResponse* response : {&as_first, &as_second}) {
    ASSERT_EQ(response->buffers_size(), 2);
    EXPECT_EQ(response->buffers(0).buffer().size_bytes(), kMiB);
    EXPECT_EQ(response->buffers(1).buffer().size_bytes(), 2 * kMiB);
    EXPECT_EQ(response->buffers(1).buffer().group_id(), id);
  }
}

TEST_F(GroupServiceTest, BadWindowArgumentsAreInvalid) {
  const std::uint64_t id = MustFormGroup("g", {first_.get()}).group().group_id();

  EXPECT_THAT(WindowStatus(first_->id(), id, "w", 0), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(WindowStatus(first_->id(), id, "w", (std::int64_t{1} << 50) + 1),
              HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(WindowStatus(first_->id(), id, "", 1), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(WindowStatus(first_->id(), id, std::string(65, 'x'), 1), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(WindowStatus(first_->id(), id, "\t", 1), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(GroupServiceTest, WindowsOnMemoryOfTheirOwnTakeLegacyIpc) {
  EXPECT_THAT(OwnMemoryStatus(), HasCode(grpc::StatusCode::PERMISSION_DENIED));
}

class LegacyIpcTest : public GroupServiceTest {
 protected:
  LegacyIpcTest() { flags_.push_back("--legacy-ipc=on"); }
};

TEST_F(LegacyIpcTest, WindowsOnMemoryOfTheirOwnTakeAGpu) {
  EXPECT_THAT(OwnMemoryStatus(), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(GroupServiceTest, WindowsOfUnknownThingsAreNotFound) {
  const std::uint64_t id = MustFormGroup("g", {first_.get()}).group().group_id();

  EXPECT_THAT(WindowStatus(12345, id, "w", 1), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(WindowStatus(first_->id(), id + 99, "w", 1), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(ReleaseWindow(*first_, id, 0), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(ReleaseWindow(*first_, id + 99, 0), HasCode(grpc::StatusCode::NOT_FOUND));
}

TEST_F(GroupServiceTest, WindowsAreForRanksOfTheGroupAndTheirOwnProcess) {
  const std::uint64_t id = MustFormGroup("g", {first_.get()}).group().group_id();
  PeerProcess peer(daemon_->grpc_address());
  const std::string arguments = std::to_string(first_->id()) + " " + std::to_string(id);

  EXPECT_THAT(WindowStatus(second_->id(), id, "w", 1), HasCode(grpc::StatusCode::PERMISSION_DENIED));
  EXPECT_THAT(ReleaseWindow(*second_, id, 0), HasCode(grpc::StatusCode::PERMISSION_DENIED));
  EXPECT_EQ(peer.Command("window " + arguments + " w 1"), "PERMISSION_DENIED");
  EXPECT_EQ(peer.Command("release-window " + arguments), "PERMISSION_DENIED");
  EXPECT_EQ(peer.Command("leave " + arguments), "PERMISSION_DENIED");
  EXPECT_EQ(peer.Command("abort " + arguments), "PERMISSION_DENIED");
}

TEST_F(GroupServiceTest, AWindowNameIsTakenOnce) {
  const std::uint64_t id = MustFormGroup("g", {first_.get()}).group().group_id();
  ASSERT_THAT(WindowStatus(first_->id(), id, "w", 1), IsOk());

  EXPECT_THAT(WindowStatus(first_->id(), id, "w", 1), HasCode(grpc::StatusCode::ALREADY_EXISTS));
}

TEST_F(GroupServiceTest, AGroupHasAtMost64Windows) {
  const std::uint64_t id = MustFormGroup("g", {first_.get()}).group().group_id();
  for (int i = 0; i < 64; ++i) ASSERT_THAT(WindowStatus(first_->id(), id, std::to_string(i), 1), IsOk());

  EXPECT_THAT(WindowStatus(first_->id(), id, "64", 1), HasCodeAndText(grpc::StatusCode::RESOURCE_EXHAUSTED, "64"));
}

TEST_F(GroupServiceTest, AWindowThatDoesNotFitIsGivenToNoRank) {
  const std::uint64_t id = MustFormGroup("g", {first_.get(), second_.get()}).group().group_id();
  const std::int64_t leased_bytes = client_->Stats().devices(0).leased_bytes();
  auto call = std::async(std::launch::async, [&] { return WindowStatus(first_->id(), id, "w", 40 * kMiB); });

  EXPECT_THAT(WindowStatus(second_->id(), id, "w", 40 * kMiB), HasCode(grpc::StatusCode::RESOURCE_EXHAUSTED));
  EXPECT_THAT(call.get(), HasCode(grpc::StatusCode::RESOURCE_EXHAUSTED));

  EXPECT_EQ(client_->Stats().devices(0).leased_bytes(), leased_bytes);
  MustRegisterWindow(id, "w", kMiB, {first_.get(), second_.get()});
}

TEST_F(GroupServiceTest, AWindowDeadlineTakesThisRanksPartBack) {
  const std::uint64_t id = MustFormGroup("g", {first_.get(), second_.get()}).group().group_id();

  EXPECT_THAT(WindowStatus(first_->id(), id, "w", kMiB, kShortDeadline), HasCode(grpc::StatusCode::DEADLINE_EXCEEDED));

  // The deadline passes here first, and at the daemon a moment later: were the other rank to come before that, it would
  // get the window.
  absl::SleepFor(absl::Milliseconds(500));
  auto call = std::async(std::launch::async, [&] { return WindowStatus(second_->id(), id, "w", kMiB); });
  grpc::Status status;
  EXPECT_TRUE(Eventually([&] {
    status = WindowStatus(first_->id(), id, "w", kMiB);
    return status.error_code() != grpc::StatusCode::ALREADY_EXISTS;
  }));
  EXPECT_THAT(status, IsOk());
  EXPECT_THAT(call.get(), IsOk());
}

TEST_F(GroupServiceTest, AWindowsMemoryGoesBackWhenEveryRankHasReleasedIt) {
  const std::uint64_t id = MustFormGroup("g", {first_.get(), second_.get()}).group().group_id();
  const std::int64_t leased_bytes = client_->Stats().devices(0).leased_bytes();
  const auto windows = MustRegisterWindow(id, "w", kMiB, {first_.get(), second_.get()});
  const int index = windows[0].window_index();

  ASSERT_THAT(ReleaseWindow(*first_, id, index), IsOk());
  EXPECT_EQ(client_->Stats().devices(0).leased_bytes(), leased_bytes + 2 * kMiB);
  EXPECT_THAT(ReleaseWindow(*first_, id, index), HasCode(grpc::StatusCode::NOT_FOUND)) << "released already";
  ASSERT_THAT(ReleaseWindow(*second_, id, index), IsOk());
  EXPECT_EQ(client_->Stats().devices(0).leased_bytes(), leased_bytes);
}

// --- Ends of groups ---

TEST_F(GroupServiceTest, AbortEndsTheGroupForAllAndSaysWhy) {
  const std::uint64_t id = MustFormGroup("g", {first_.get(), second_.get()}).group().group_id();
  auto waiting = std::async(std::launch::async, [&] { return WindowStatus(second_->id(), id, "w", 1); });

  ASSERT_THAT(Abort(first_->id(), id, "out of tokens"), IsOk());

  EXPECT_THAT(waiting.get(), HasCode(grpc::StatusCode::ABORTED));
  const std::optional<v1::AttachResponse> event = second_->Read();
  ASSERT_TRUE(event.has_value() && event->has_group_aborted());
  EXPECT_EQ(event->group_aborted().group_id(), id);
  EXPECT_EQ(event->group_aborted().rank(), 0);
  EXPECT_EQ(event->group_aborted().reason(), v1::END_REASON_ABORTED_BY_RANK);
  EXPECT_THAT(event->group_aborted().text(), ::testing::HasSubstr("out of tokens"));
  EXPECT_THAT(Abort(first_->id(), id, "again"), HasCode(grpc::StatusCode::FAILED_PRECONDITION));
}

TEST_F(GroupServiceTest, AbortChecksItsArguments) {
  const std::uint64_t id = MustFormGroup("g", {first_.get()}).group().group_id();

  EXPECT_THAT(Abort(first_->id(), id, std::string(257, 'x')), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(Abort(first_->id(), id, "a\nb"), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(Abort(first_->id(), id + 99, ""), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Abort(12345, id, ""), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Abort(second_->id(), id, ""), HasCode(grpc::StatusCode::PERMISSION_DENIED));
}

TEST_F(GroupServiceTest, AnAbortedGroupIsKeptUntilItsLastRankLeaves) {
  const std::uint64_t id = MustFormGroup("g", {first_.get(), second_.get()}).group().group_id();
  ASSERT_THAT(Abort(first_->id(), id, ""), IsOk());
  v1::GetGroupRequest request;
  v1::GetGroupResponse response;
  request.set_group_id(id);

  ASSERT_THAT(Call(client_->group.get(), &v1::GroupService::Stub::GetGroup, request, &response), IsOk());
  EXPECT_EQ(response.group().state(), v1::GROUP_STATE_ABORTED);
  EXPECT_EQ(response.group().end_reason(), v1::END_REASON_ABORTED_BY_RANK);
  EXPECT_EQ(response.group().end_rank(), 0);

  ASSERT_THAT(Leave(*first_, id), IsOk());
  ASSERT_THAT(Leave(*second_, id), IsOk());
  EXPECT_THAT(Call(client_->group.get(), &v1::GroupService::Stub::GetGroup, request, &response),
              HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_EQ(client_->Stats().devices(0).leased_bytes(), 0);
}

TEST_F(GroupServiceTest, LeavingFreesTheNameAtOnceAndTellsTheOthers) {
  const std::uint64_t id = MustFormGroup("g", {first_.get(), second_.get()}).group().group_id();

  ASSERT_THAT(Leave(*first_, id), IsOk());

  const std::optional<v1::AttachResponse> event = second_->Read();
  ASSERT_TRUE(event.has_value() && event->has_group_aborted());
  EXPECT_EQ(event->group_aborted().reason(), v1::END_REASON_RANK_LEFT);
  EXPECT_EQ(event->group_aborted().rank(), 0);
  EXPECT_THAT(MustFormGroup("g", {first_.get()}).group().group_id(), Ne(id));
}

TEST_F(GroupServiceTest, LeaveChecksItsArguments) {
  const std::uint64_t id = MustFormGroup("g", {first_.get()}).group().group_id();

  EXPECT_THAT(Leave(*first_, id + 99), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Leave(*second_, id), HasCode(grpc::StatusCode::PERMISSION_DENIED));
  ASSERT_THAT(Leave(*first_, id), IsOk());
  EXPECT_THAT(Leave(*first_, id), HasCode(grpc::StatusCode::NOT_FOUND));
}

TEST_F(GroupServiceTest, ARankThatDiesIsNamedToTheSurvivors) {
  PeerProcess peer(daemon_->grpc_address());
  const std::string attached = peer.Command("attach");
  ASSERT_EQ(attached.substr(0, 3), "OK ");
  peer.Begin("join " + attached.substr(3) + " g 1 2");
  ASSERT_THAT(JoinStatus(Request()), IsOk());
  ASSERT_EQ(peer.Answer().substr(0, 3), "OK ");

  peer.Kill(SIGKILL);

  const std::optional<v1::AttachResponse> event = first_->Read();
  ASSERT_TRUE(event.has_value() && event->has_group_aborted());
  EXPECT_EQ(event->group_aborted().reason(), v1::END_REASON_RANK_DIED);
  EXPECT_EQ(event->group_aborted().rank(), 1);
  EXPECT_EQ(client_->Stats().daemon().sessions_died_total(), 1U);
}

// --- Lists ---

TEST_F(GroupServiceTest, ListGivesPagesInTheOrderOfIds) {
  std::vector<std::uint64_t> formed;
  for (int i = 0; i < 4; ++i) {
    formed.push_back(MustFormGroup("g" + std::to_string(i), {first_.get()}).group().group_id());
  }
  std::vector<std::uint64_t> listed;
  v1::ListGroupsRequest request;
  request.set_page_size(3);

  do {
    v1::ListGroupsResponse page;
    ASSERT_THAT(Call(client_->group.get(), &v1::GroupService::Stub::ListGroups, request, &page), IsOk());
    for (const v1::Group& group : page.groups()) listed.push_back(group.group_id());
    request.set_after_group_id(page.next_after_group_id());
  } while (request.after_group_id() != 0);

  EXPECT_EQ(listed, formed);
}

TEST_F(GroupServiceTest, ListRefusesBadPageSizes) {
  for (const int page_size : {-1, 1001}) {
    v1::ListGroupsRequest request;
    v1::ListGroupsResponse response;
    request.set_page_size(page_size);
    EXPECT_THAT(Call(client_->group.get(), &v1::GroupService::Stub::ListGroups, request, &response),
                HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  }
}

}  // namespace
}  // namespace a8a::testing
