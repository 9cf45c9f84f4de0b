// Ends of all kinds, through the public interface: ranks that die, daemons that die, stop and come back, sessions,
// groups and leases that are revoked, handles that are used out of order.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "a8a/v1/admin_service.grpc.pb.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/client/child_process.h"
#include "tests/integration/client/client_fixture.h"

namespace a8a {
namespace {

using a8a::testing::DaemonProcess;
using absl::StatusCode;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

// One row to and from the only rank of a group.
constexpr std::int32_t kOneRow[] = {1};
const View kRow = View::Contiguous(1, 3);

absl::Status SendToSelf(Group& group, const Window& window, Channel channel = Channel{0}) {
  return group.AllToAll({"row", kRow}, {&window, 0, kRow}, Splits::Int32(kOneRow, kOneRow), channel);
}

class LifecycleTest : public ClientFixture {
 protected:
  void Revoke(const v1::RevokeRequest& request) const {
    const auto channel = grpc::CreateChannel(daemon_->grpc_address(), grpc::InsecureChannelCredentials());
    grpc::ClientContext context;
    v1::RevokeResponse response;
    const grpc::Status status = v1::AdminService::NewStub(channel)->Revoke(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  [[nodiscard]] std::vector<std::string> RankProgram(int rank, int world_size) const {
    return {A8A_RANK_PROGRAM, daemon_->runtime_dir(), "ranks", absl::StrCat(rank), absl::StrCat(world_size)};
  }
};

TEST_F(LifecycleTest, TheDeathOfARankEndsTheOthersAndNamesIt) {
  // Programs that are forked and executed while this process has a client of its own.
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  ChildProcess ranks[] = {ChildProcess(RankProgram(0, 3)), ChildProcess(RankProgram(1, 3)),
                          ChildProcess(RankProgram(2, 3))};
  for (ChildProcess& rank : ranks) ASSERT_EQ(rank.ReadLine(), "ready");

  ranks[1].Signal(SIGKILL);

  EXPECT_THAT(ranks[0].ReadLine(),
              AllOf(HasSubstr("ABORTED"), HasSubstr("rank 1 died"), Not(ContainsRegex("rank 1 died.*rank 1 died"))));
  EXPECT_THAT(ranks[2].ReadLine(), AllOf(HasSubstr("ABORTED"), HasSubstr("rank 1")));
  EXPECT_EQ(ranks[0].Wait(), 0);
  EXPECT_EQ(ranks[2].Wait(), 0);
  EXPECT_THAT(client->status(), IsOk()) << "another process's death is not this one's";
}

TEST_F(LifecycleTest, SurvivorsFormANewGroupAtOnce) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  {
    ChildProcess other(RankProgram(1, 2));
    A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "ranks", .rank = 0, .world_size = 2}));
    other.Signal(SIGKILL);
    ASSERT_TRUE(Eventually([&] { return absl::IsAborted(group->CheckStatus(Channel{0})); }));

    A8A_ASSERT_OK_AND_ASSIGN(const auto next, client->Join({.name = "ranks", .rank = 0, .world_size = 1}));
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, next->RegisterWindow("w", 4096));
    EXPECT_THAT(SendToSelf(*next, *window), IsOk());
    EXPECT_THAT(group->RegisterWindow("late", 1), StatusIs(StatusCode::kAborted));
  }
}

TEST_F(LifecycleTest, ADaemonThatHasLostItsStateDoesNotKnowTheSession) {
  const a8a::testing::TempDir directory;
  const DaemonProcess::Options options = {.flags = {}, .runtime_dir = directory.path() + "/run"};
  A8A_ASSERT_OK_AND_ASSIGN(auto first, DaemonProcess::Start(options));
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Client::Connect({.runtime_dir = options.runtime_dir}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto window, group->RegisterWindow("w", 4096));
  first->Kill();
  std::filesystem::remove(options.runtime_dir + "/state");

  A8A_ASSERT_OK_AND_ASSIGN(const auto second, DaemonProcess::Start(options));

  EXPECT_TRUE(Eventually([&] { return absl::IsAborted(client->status()); })) << client->status();
  EXPECT_THAT(client->Join({.name = "g"}), StatusIs(StatusCode::kNotFound, HasSubstr("was ended by the daemon")));
  EXPECT_THAT(SendToSelf(*group, *window), IsOk()) << "the data path does not depend on the daemon";
  EXPECT_THAT(Client::Connect({.runtime_dir = options.runtime_dir}), IsOk());
}

TEST_F(LifecycleTest, ADaemonThatHangsIsADeadlineAndDoesNotHoldUpDestruction) {
  A8A_ASSERT_OK_AND_ASSIGN(auto client, Connect());
  daemon_->Signal(SIGSTOP);

  const absl::Time start = absl::Now();
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 1, .name = "b", .timeout = absl::Milliseconds(100)}),
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("buffer \"b\"")));
  EXPECT_THAT(Client::Connect({.runtime_dir = daemon_->runtime_dir(), .timeout = absl::Milliseconds(100)}),
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr(daemon_->grpc_socket_path())));
  client.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(30));
  daemon_->Signal(SIGCONT);
}

TEST_F(LifecycleTest, ARevokedSessionIsAbortedAndItsCallsNotFound) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto window, group->RegisterWindow("w", 4096));
  v1::RevokeRequest request;
  request.set_session_id(client->session_id());

  Revoke(request);

  EXPECT_TRUE(Eventually([&] { return absl::IsAborted(client->status()); })) << client->status();
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 1}), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(SendToSelf(*group, *window), StatusIs(StatusCode::kAborted));
}

TEST_F(LifecycleTest, ARevokedBufferSaysSoAndCanStillBeTouched) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto buffer, client->RegisterBuffer({.size_bytes = 4096}));
  v1::RevokeRequest request;
  request.set_buffer_id(buffer->id());

  Revoke(request);

  EXPECT_TRUE(Eventually([&] { return !buffer->status().ok(); }));
  EXPECT_THAT(buffer->status(), StatusIs(StatusCode::kAborted, HasSubstr("REVOKED")));
  buffer->data()[4095] = std::byte{1};
}

TEST_F(LifecycleTest, ARevokedGroupIsAborted) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto window, group->RegisterWindow("w", 4096));
  ASSERT_THAT(SendToSelf(*group, *window), IsOk());
  v1::RevokeRequest request;
  request.set_group_id(group->id());

  Revoke(request);

  EXPECT_THAT(SendToSelf(*group, *window), StatusIs(StatusCode::kAborted));
  EXPECT_THAT(group->CheckStatus(Channel{1}), StatusIs(StatusCode::kAborted));
  EXPECT_THAT(group->Abort("late"), StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_THAT(client->status(), IsOk());
}

TEST_F(LifecycleTest, TheTextOfAnAbortReachesTheOtherRanks) {
  RunRanks(2, [&](Group& group, int rank) {
    if (rank == 0) {
      ASSERT_THAT(group.Abort("out of tokens"), IsOk());
      return;
    }
    absl::Status status;
    EXPECT_TRUE(Eventually([&] {
      status = group.CheckStatus(Channel{0});
      return absl::IsAborted(status) && status.message().find("out of tokens") != std::string::npos;
    })) << status;
  });
}

TEST_F(LifecycleTest, LimitsOfTheDaemonAreResourceExhausted) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto small,
                           DaemonProcess::Start({.flags = {"--session-max=1", "--host-pool-bytes=1MiB"}}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Client::Connect({.runtime_dir = small->runtime_dir()}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));

  EXPECT_THAT(Client::Connect({.runtime_dir = small->runtime_dir()}), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 2 << 20}), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(group->RegisterWindow("w", 2 << 20), StatusIs(StatusCode::kResourceExhausted));
}

TEST_F(LifecycleTest, BadWindowsAreRefused) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto window, group->RegisterWindow("w", 100));

  EXPECT_GE(window->size_bytes(), 100);
  EXPECT_THAT(group->RegisterWindow("w", 100), StatusIs(StatusCode::kAlreadyExists));
  EXPECT_THAT(group->RegisterWindow("", 100), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(group->RegisterWindow("zero", 0), StatusIs(StatusCode::kInvalidArgument));
  char own[64];
  EXPECT_THAT(group->RegisterWindowOn("own", own, sizeof own), StatusIs(StatusCode::kUnimplemented));
  EXPECT_THAT(group->RegisterWindowOn("null", nullptr, 64), StatusIs(StatusCode::kInvalidArgument));
}

TEST_F(LifecycleTest, AWindowThatNotEveryRankRegistersIsADeadline) {
  RunRanks(2, [&](Group& group, int rank) {
    if (rank == 0) {
      EXPECT_THAT(group.RegisterWindow("mine", 100, absl::Milliseconds(100)),
                  StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("register window \"mine\"")));
    }
    EXPECT_THAT(group.RegisterWindow("ours", 100), IsOk());
  });
}

TEST_F(LifecycleTest, RowsBeyondTheOutputAreOutOfRange) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto window, group->RegisterWindow("w", 4096));
  const std::int32_t two[] = {2};

  EXPECT_THAT(
      group->AllToAll({"rowrow", View::Contiguous(2, 3)}, {window.get(), 0, kRow}, Splits::Int32(two, two), Channel{0}),
      StatusIs(StatusCode::kOutOfRange));
  EXPECT_THAT(SendToSelf(*group, *window), IsOk());
}

TEST_F(LifecycleTest, WindowsAndPlansBelongToTheirGroup) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto one, client->Join({.name = "one"}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto two, client->Join({.name = "two"}));
  A8A_ASSERT_OK_AND_ASSIGN(auto window, one->RegisterWindow("w", 4096));
  A8A_ASSERT_OK_AND_ASSIGN(const auto other, two->RegisterWindow("w", 4096));
  const Splits splits = Splits::Int32(kOneRow, kOneRow);
  Plan plan;

  EXPECT_THAT(SendToSelf(*two, *window),
              StatusIs(StatusCode::kInvalidArgument, AllOf(HasSubstr("\"one\""), HasSubstr("\"two\""))));
  ASSERT_THAT(one->Prepare(&plan, {nullptr, kRow}, {window.get(), 0, kRow}, splits, Channel{0}), IsOk());
  EXPECT_THAT(two->AllToAll(plan, "row"), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(one->AllToAll(plan, "row"), IsOk());
  Plan moved = std::move(plan);
  EXPECT_THAT(one->AllToAll(moved, "row"), IsOk());
  window.reset();
  EXPECT_THAT(one->AllToAll(moved, "row"),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("window was destroyed")));
  ASSERT_THAT(two->Prepare(&moved, {nullptr, kRow}, {other.get(), 0, kRow}, splits, Channel{0}), IsOk());
  EXPECT_THAT(two->AllToAll(moved, "row"), IsOk());
}

TEST_F(LifecycleTest, HandlesThatOutliveTheirClientDoNothing) {
  A8A_ASSERT_OK_AND_ASSIGN(auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(auto group, client->Join({.name = "alone"}));
  A8A_ASSERT_OK_AND_ASSIGN(auto window, group->RegisterWindow("w", 4096));
  A8A_ASSERT_OK_AND_ASSIGN(const auto buffer, client->RegisterBuffer({.size_bytes = 1}));

  client.reset();  // against the rule: first the groups

  EXPECT_THAT(group->RegisterWindow("late", 1), StatusIs(StatusCode::kUnavailable, HasSubstr("is closed")));
  EXPECT_TRUE(daemon_->WaitForLog("session_ended"));
  group.reset();
  window.reset();
}

TEST_F(LifecycleTest, FailedConnectsLeaveNothingBehind) {
  EXPECT_THAT(Connect(), IsOk());  // gRPC keeps descriptors from its first use on
  const int threads = CountEntries("/proc/self/task");
  const int descriptors = CountEntries("/proc/self/fd");

  const a8a::testing::TempDir empty;
  EXPECT_THAT(Client::Connect({.runtime_dir = empty.path()}), StatusIs(StatusCode::kUnavailable));
  EXPECT_THAT(Client::Connect({.runtime_dir = daemon_->runtime_dir(), .client_name = "\n"}),
              StatusIs(StatusCode::kInvalidArgument));
  {
    A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
    daemon_->Kill();
    ASSERT_TRUE(Eventually([&] { return !client->status().ok(); }));
  }

  EXPECT_TRUE(Eventually([&] { return CountEntries("/proc/self/task") <= threads; })) << "threads are left";
  EXPECT_TRUE(Eventually([&] { return CountEntries("/proc/self/fd") <= descriptors; })) << "descriptors are left";
}

// The mask of blocked signals of a thread of this process.
std::uint64_t BlockedSignals(const std::filesystem::path& task) {
  std::ifstream status(task / "status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("SigBlk:", 0) == 0) return std::stoull(line.substr(7), nullptr, 16);
  }
  return ~std::uint64_t{0};  // it has ended
}

TEST_F(LifecycleTest, SignalsReachTheApplicationsThreadsOnly) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  const auto bit = [](int signal) { return std::uint64_t{1} << (signal - 1); };
  bool session_seen = false;

  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (task.path().filename() == absl::StrCat(gettid())) continue;
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    EXPECT_NE(BlockedSignals(task.path()) & bit(SIGTERM), 0U) << name << " would take SIGTERM";
    if (name != "a8a-session") continue;
    session_seen = true;
    EXPECT_EQ(BlockedSignals(task.path()) & bit(SIGSEGV), 0U) << "a fault must end the process as usual";
  }
  EXPECT_TRUE(session_seen);
}

}  // namespace
}  // namespace a8a
