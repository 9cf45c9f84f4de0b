// StatService through the real sockets.
#include <memory>
#include <string>

#include "tests/integration/daemon/daemon_fixture.h"

namespace a8a::testing {
namespace {

class StatServiceTest : public DaemonTest {
 protected:
  static v1::WatchStatsRequest WatchRequest(std::int64_t seconds, int nanos) {
    v1::WatchStatsRequest request;
    request.mutable_interval()->set_seconds(seconds);
    request.mutable_interval()->set_nanos(nanos);
    return request;
  }
  // The status of a stream that is read to its end.
  grpc::Status WatchStatus(const v1::WatchStatsRequest& request) {
    grpc::ClientContext context;
    const auto stream = client_->stat->WatchStats(&context, request);
    v1::WatchStatsResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish();
  }
};

constexpr int kNanosPerMilli = 1'000'000;

TEST_F(StatServiceTest, TheDaemonDescribesItself) {
  const v1::DaemonStats daemon = client_->Stats().daemon();

  EXPECT_EQ(daemon.pid(), daemon_->pid());
  EXPECT_FALSE(daemon.version().empty());
  EXPECT_NE(daemon.daemon_instance_id(), 0U);
  EXPECT_GT(daemon.resident_bytes(), 1 << 20);
  EXPECT_FALSE(daemon.draining());
  EXPECT_TRUE(client_->Stats().devices(0).healthy());
}

TEST_F(StatServiceTest, SessionsAndGroupsAreCounted) {
  const std::unique_ptr<Session> first = client_->Attach("first");
  const std::unique_ptr<Session> second = client_->Attach("second");
  const v1::JoinGroupResponse group = MustFormGroup("g", {first.get(), second.get()});
  MustRegisterWindow(group.group().group_id(), "w", 1 << 20, {first.get(), second.get()});

  const v1::Stats stats = client_->Stats();

  EXPECT_EQ(stats.daemon().sessions_total(), 2U);
  EXPECT_EQ(stats.daemon().groups_total(), 1U);
  ASSERT_EQ(stats.sessions_size(), 2);
  EXPECT_EQ(stats.sessions(0).client_name(), "first");
  EXPECT_EQ(stats.sessions(0).pid(), ::getpid());
  EXPECT_EQ(stats.sessions(0).uid(), ::getuid());
  ASSERT_EQ(stats.groups_size(), 1);
  ASSERT_EQ(stats.groups(0).ranks_size(), 2);
  EXPECT_GT(stats.groups(0).control_bytes(), 0);
  const std::int64_t rank_bytes = (1 << 20) + group.flags(0).buffer().size_bytes();
  EXPECT_EQ(stats.groups(0).ranks(0).leased_bytes(), rank_bytes);
  EXPECT_EQ(stats.sessions(0).leased_bytes(), rank_bytes);
  EXPECT_EQ(stats.devices(0).leased_bytes(), 2 * rank_bytes);
}

TEST_F(StatServiceTest, AGroupIdNarrowsTheSnapshot) {
  const std::unique_ptr<Session> session = client_->Attach();
  MustFormGroup("g", {session.get()});
  const std::uint64_t id = MustFormGroup("h", {session.get()}).group().group_id();
  v1::GetStatsRequest request;
  v1::GetStatsResponse response;
  request.set_group_id(id);

  ASSERT_THAT(Call(client_->stat.get(), &v1::StatService::Stub::GetStats, request, &response), IsOk());

  ASSERT_EQ(response.stats().groups_size(), 1);
  EXPECT_EQ(response.stats().groups(0).group().group_id(), id);
}

TEST_F(StatServiceTest, WatchGivesASnapshotAtOnceAndThenOneEachInterval) {
  grpc::ClientContext context;
  const auto stream = client_->stat->WatchStats(&context, WatchRequest(0, 10 * kNanosPerMilli));
  v1::WatchStatsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.stats().sessions_size(), 0);
  const std::unique_ptr<Session> session = client_->Attach();

  int snapshots = 0;
  while (response.stats().sessions_size() == 0 && stream->Read(&response)) ++snapshots;

  EXPECT_EQ(response.stats().sessions_size(), 1);
  EXPECT_GE(snapshots, 1);
  context.TryCancel();
  EXPECT_THAT(stream->Finish(), HasCode(grpc::StatusCode::CANCELLED));
}

TEST_F(StatServiceTest, IntervalsOutOfRangeAreInvalid) {
  EXPECT_THAT(WatchStatus(WatchRequest(0, 9 * kNanosPerMilli)), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(WatchStatus(WatchRequest(0, 0)), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(WatchStatus(WatchRequest(3600, 1)), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(WatchStatus(WatchRequest(-1, 0)), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(WatchStatus(WatchRequest(1, 1'000'000'000)), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(StatServiceTest, StreamsAreLimitedAndASlotComesFree) {
  constexpr int kWatchMax = 32;  // of one uid
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchStatsResponse>>> streams;
  for (int i = 0; i < kWatchMax; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(client_->stat->WatchStats(contexts.back().get(), WatchRequest(3600, 0)));
    v1::WatchStatsResponse response;
    ASSERT_TRUE(streams.back()->Read(&response)) << i;
  }

  EXPECT_THAT(WatchStatus(WatchRequest(3600, 0)), HasCodeAndText(grpc::StatusCode::RESOURCE_EXHAUSTED, "32"));

  contexts.front()->TryCancel();
  EXPECT_THAT(streams.front()->Finish(), HasCode(grpc::StatusCode::CANCELLED));
  EXPECT_TRUE(Eventually([&] {
    grpc::ClientContext context;
    v1::WatchStatsResponse response;
    return client_->stat->WatchStats(&context, WatchRequest(3600, 0))->Read(&response);
  }));
}

TEST_F(StatServiceTest, WatchEndsWithUnavailableWhenTheDaemonStops) {
  grpc::ClientContext context;
  const auto stream = client_->stat->WatchStats(&context, WatchRequest(3600, 0));
  v1::WatchStatsResponse response;
  ASSERT_TRUE(stream->Read(&response));

  daemon_->Signal(SIGTERM);

  EXPECT_FALSE(stream->Read(&response));
  EXPECT_THAT(stream->Finish(), HasCodeAndText(grpc::StatusCode::UNAVAILABLE, "stopping"));
  EXPECT_EQ(daemon_->Wait()->code, 0);
}

}  // namespace
}  // namespace a8a::testing
