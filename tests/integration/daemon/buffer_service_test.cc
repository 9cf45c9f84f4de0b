// BufferService through the real sockets: every error that the proto names, and pages of lists.
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/peer_process.h"

namespace a8a::testing {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr std::int64_t kPiB = std::int64_t{1} << 50;

class BufferServiceTest : public DaemonTest {
 protected:
  BufferServiceTest() { flags_ = {"--host-pool-bytes=64MiB"}; }

  void SetUp() override {
    DaemonTest::SetUp();
    session_ = client_->Attach();
    ASSERT_NE(session_->id(), 0U);
  }

  v1::RegisterBufferRequest Request() {
    v1::RegisterBufferRequest request;
    request.set_session_id(session_->id());
    request.set_device("host");
    request.set_size_bytes(kMiB);
    return request;
  }
  grpc::Status Register(const v1::RegisterBufferRequest& request) {
    v1::RegisterBufferResponse response;
    return Call(client_->buffer.get(), &v1::BufferService::Stub::RegisterBuffer, request, &response);
  }
  grpc::Status Release(std::uint64_t session_id, std::uint64_t buffer_id, std::uint64_t generation) {
    v1::ReleaseBufferRequest request;
    v1::ReleaseBufferResponse response;
    request.set_session_id(session_id);
    request.set_buffer_id(buffer_id);
    request.set_generation(generation);
    return Call(client_->buffer.get(), &v1::BufferService::Stub::ReleaseBuffer, request, &response);
  }
  grpc::Status Get(std::uint64_t session_id, std::uint64_t buffer_id, bool issue_ticket,
                   v1::GetBufferResponse* response) {
    v1::GetBufferRequest request;
    request.set_session_id(session_id);
    request.set_buffer_id(buffer_id);
    request.set_issue_ticket(issue_ticket);
    return Call(client_->buffer.get(), &v1::BufferService::Stub::GetBuffer, request, response);
  }
  grpc::Status List(std::uint64_t after, int page_size, v1::ListBuffersResponse* response) {
    v1::ListBuffersRequest request;
    request.set_after_buffer_id(after);
    request.set_page_size(page_size);
    return Call(client_->buffer.get(), &v1::BufferService::Stub::ListBuffers, request, response);
  }

  std::unique_ptr<Session> session_;
};

TEST_F(BufferServiceTest, ALeaseIsRoundedUpAndAccountedToTheByte) {
  v1::RegisterBufferRequest request = Request();
  request.set_size_bytes(1);
  request.set_name("grad0");
  v1::RegisterBufferResponse response;

  ASSERT_THAT(Call(client_->buffer.get(), &v1::BufferService::Stub::RegisterBuffer, request, &response), IsOk());

  const std::int64_t granularity_bytes = session_->welcome().devices(0).granularity_bytes();
  EXPECT_EQ(response.buffer().size_bytes(), granularity_bytes);
  EXPECT_EQ(response.ticket().size_bytes(), granularity_bytes);
  EXPECT_EQ(response.ticket().value().size(), 16U);
  EXPECT_EQ(response.buffer().name(), "grad0");
  EXPECT_EQ(response.buffer().device(), "host");
  EXPECT_EQ(response.buffer().session_id(), session_->id());
  EXPECT_EQ(response.buffer().group_id(), 0U);
  const v1::Stats stats = client_->Stats();
  EXPECT_EQ(stats.devices(0).leased_bytes(), granularity_bytes);
  EXPECT_EQ(stats.devices(0).lease_count(), 1);
  EXPECT_EQ(stats.sessions(0).leased_bytes(), granularity_bytes);
}

TEST_F(BufferServiceTest, SizesOutOfRangeAreInvalid) {
  for (const std::int64_t size_bytes :
       {std::int64_t{0}, std::int64_t{-1}, kPiB + 1, std::numeric_limits<std::int64_t>::max(),
        std::numeric_limits<std::int64_t>::min()}) {
    v1::RegisterBufferRequest request = Request();
    request.set_size_bytes(size_bytes);
    EXPECT_THAT(Register(request), HasCode(grpc::StatusCode::INVALID_ARGUMENT)) << size_bytes;
  }
}

TEST_F(BufferServiceTest, BadNamesAndAnEmptyDeviceAreInvalid) {
  v1::RegisterBufferRequest long_name = Request();
  long_name.set_name(std::string(65, 'x'));
  v1::RegisterBufferRequest control_character = Request();
  control_character.set_name("a\x01");
  v1::RegisterBufferRequest no_device = Request();
  no_device.set_device("");

  EXPECT_THAT(Register(long_name), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(Register(control_character), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(Register(no_device), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(BufferServiceTest, AnUnknownSessionOrDeviceIsNotFound) {
  v1::RegisterBufferRequest session = Request();
  session.set_session_id(12345);
  v1::RegisterBufferRequest device = Request();
  device.set_device("cuda:9");

  EXPECT_THAT(Register(session), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Register(device), HasCode(grpc::StatusCode::NOT_FOUND));
}

TEST_F(BufferServiceTest, ThePoolLimitIsNamedWithWhatIsLeft) {
  MustRegisterBuffer(session_->id(), 60 * kMiB);
  v1::RegisterBufferRequest request = Request();
  request.set_size_bytes(5 * kMiB);

  EXPECT_THAT(Register(request), HasCodeAndText(grpc::StatusCode::RESOURCE_EXHAUSTED, std::to_string(4 * kMiB)));

  request.set_size_bytes(4 * kMiB);
  EXPECT_THAT(Register(request), IsOk());
}

TEST_F(BufferServiceTest, ADrainingDaemonLeasesNothing) {
  ASSERT_THAT(Drain(), IsOk());

  EXPECT_THAT(Register(Request()), HasCode(grpc::StatusCode::UNAVAILABLE));
}

TEST_F(BufferServiceTest, AnotherProcessesSessionIsDenied) {
  const v1::RegisterBufferResponse lease = MustRegisterBuffer(session_->id(), kMiB);
  PeerProcess peer(daemon_->grpc_address());
  const std::string session = std::to_string(session_->id());
  const std::string buffer = std::to_string(lease.buffer().buffer_id());

  EXPECT_EQ(peer.Command("register " + session + " 4096"), "PERMISSION_DENIED");
  EXPECT_EQ(peer.Command("release " + session + " " + buffer + " " + std::to_string(lease.buffer().generation())),
            "PERMISSION_DENIED");
  EXPECT_EQ(peer.Command("get-buffer " + session + " " + buffer), "PERMISSION_DENIED");
}

TEST_F(BufferServiceTest, ReleaseGivesTheBytesBackOnce) {
  const v1::RegisterBufferResponse lease = MustRegisterBuffer(session_->id(), kMiB);
  const std::uint64_t id = lease.buffer().buffer_id();
  const std::uint64_t generation = lease.buffer().generation();

  ASSERT_THAT(Release(session_->id(), id, generation), IsOk());

  EXPECT_EQ(client_->Stats().devices(0).leased_bytes(), 0);
  EXPECT_EQ(client_->Stats().devices(0).leased_bytes_peak(), kMiB);
  EXPECT_THAT(Release(session_->id(), id, generation), HasCode(grpc::StatusCode::NOT_FOUND));
}

TEST_F(BufferServiceTest, ReleaseChecksSessionBufferAndGeneration) {
  const v1::RegisterBufferResponse lease = MustRegisterBuffer(session_->id(), kMiB);
  const std::uint64_t id = lease.buffer().buffer_id();
  const std::uint64_t generation = lease.buffer().generation();
  const std::unique_ptr<Session> other = client_->Attach();

  EXPECT_THAT(Release(12345, id, generation), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Release(session_->id(), id + 999, generation), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Release(session_->id(), id, generation + 1), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Release(other->id(), id, generation), HasCode(grpc::StatusCode::PERMISSION_DENIED));
  EXPECT_EQ(client_->Stats().devices(0).lease_count(), 1);
}

TEST_F(BufferServiceTest, BuffersOfAGroupAreNotReleasedHere) {
  const v1::JoinGroupResponse group = MustFormGroup("g", {session_.get()});
  const v1::Buffer& flags = group.flags(0).buffer();

  EXPECT_THAT(Release(session_->id(), flags.buffer_id(), flags.generation()),
              HasCode(grpc::StatusCode::FAILED_PRECONDITION));
}

TEST_F(BufferServiceTest, GetDescribesAndIssuesATicketWhenAsked) {
  const v1::RegisterBufferResponse lease = MustRegisterBuffer(session_->id(), kMiB);
  v1::GetBufferResponse without;
  v1::GetBufferResponse with;

  ASSERT_THAT(Get(session_->id(), lease.buffer().buffer_id(), /*issue_ticket=*/false, &without), IsOk());
  ASSERT_THAT(Get(session_->id(), lease.buffer().buffer_id(), /*issue_ticket=*/true, &with), IsOk());

  EXPECT_EQ(without.buffer().SerializeAsString(), lease.buffer().SerializeAsString());
  EXPECT_FALSE(without.has_ticket());
  EXPECT_EQ(with.ticket().value().size(), 16U);
  EXPECT_NE(with.ticket().value(), lease.ticket().value());
}

TEST_F(BufferServiceTest, GetIsForTheHolderAndTheRanksOfItsGroup) {
  const std::unique_ptr<Session> peer_rank = client_->Attach();
  const std::unique_ptr<Session> stranger = client_->Attach();
  const v1::RegisterBufferResponse own = MustRegisterBuffer(session_->id(), kMiB);
  const v1::JoinGroupResponse group = MustFormGroup("g", {session_.get(), peer_rank.get()});
  const std::uint64_t flags_id = group.flags(0).buffer().buffer_id();
  v1::GetBufferResponse response;

  EXPECT_THAT(Get(peer_rank->id(), flags_id, /*issue_ticket=*/true, &response), IsOk());
  EXPECT_THAT(Get(stranger->id(), flags_id, /*issue_ticket=*/true, &response),
              HasCode(grpc::StatusCode::PERMISSION_DENIED));
  EXPECT_THAT(Get(peer_rank->id(), own.buffer().buffer_id(), /*issue_ticket=*/false, &response),
              HasCode(grpc::StatusCode::PERMISSION_DENIED));
}

TEST_F(BufferServiceTest, GetOfUnknownThingsIsNotFound) {
  v1::GetBufferResponse response;

  EXPECT_THAT(Get(session_->id(), 12345, /*issue_ticket=*/false, &response), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Get(12345, 1, /*issue_ticket=*/false, &response), HasCode(grpc::StatusCode::NOT_FOUND));
}

TEST_F(BufferServiceTest, TicketsOfASessionAreLimited) {
  constexpr int kTicketMax = 4096;
  const v1::RegisterBufferResponse lease = MustRegisterBuffer(session_->id(), kMiB);
  v1::GetBufferResponse response;
  grpc::Status status;

  for (int i = 0; i <= kTicketMax && status.ok(); ++i) {
    status = Get(session_->id(), lease.buffer().buffer_id(), /*issue_ticket=*/true, &response);
  }

  EXPECT_THAT(status, HasCode(grpc::StatusCode::RESOURCE_EXHAUSTED));
}

TEST_F(BufferServiceTest, ListGivesPagesInTheOrderOfIds) {
  std::vector<std::uint64_t> registered;
  for (int i = 0; i < 5; ++i) registered.push_back(MustRegisterBuffer(session_->id(), 4096).buffer().buffer_id());
  std::vector<std::uint64_t> listed;
  std::uint64_t after = 0;
  int pages = 0;

  do {
    v1::ListBuffersResponse page;
    ASSERT_THAT(List(after, 2, &page), IsOk());
    for (const v1::Buffer& buffer : page.buffers()) listed.push_back(buffer.buffer_id());
    after = page.next_after_buffer_id();
    ++pages;
  } while (after != 0);

  EXPECT_EQ(listed, registered);
  EXPECT_EQ(pages, 3);
}

TEST_F(BufferServiceTest, ListRefusesBadPageSizes) {
  v1::ListBuffersResponse response;

  EXPECT_THAT(List(0, -1, &response), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(List(0, 1001, &response), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(List(0, 1000, &response), IsOk());
}

class BufferLimitTest : public BufferServiceTest {
 protected:
  BufferLimitTest() { flags_ = {"--buffer-max=2"}; }
};

TEST_F(BufferLimitTest, TheTableIsLimited) {
  MustRegisterBuffer(session_->id(), 4096);
  MustRegisterBuffer(session_->id(), 4096);

  EXPECT_THAT(Register(Request()), HasCodeAndText(grpc::StatusCode::RESOURCE_EXHAUSTED, "2"));
}

}  // namespace
}  // namespace a8a::testing
