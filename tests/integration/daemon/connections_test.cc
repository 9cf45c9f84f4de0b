// Connections to a8a.sock: who they belong to, how many there may be, and what happens when descriptors run out.
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/peer_process.h"

namespace a8a::testing {
namespace {

using ::grpc::health::v1::HealthCheckResponse;

// Any uid that is neither root nor the test's; it needs no entry in /etc/passwd.
constexpr uid_t kOtherUid = 54321;

// A connection that says nothing.
class RawConnection {
 public:
  RawConnection(const std::string& path, int type) : socket_(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    connected_ = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] bool ClosedByDaemon() const {
    pollfd entry = {.fd = socket_.get(), .events = 0, .revents = 0};
    return ::poll(&entry, 1, /*timeout=*/0) == 1 && (entry.revents & POLLHUP) != 0;
  }

 private:
  UniqueFd socket_;
  bool connected_ = false;
};

class ConnectionsTest : public DaemonTest {
 protected:
  RawConnection Connect() { return RawConnection(daemon_->grpc_socket_path(), SOCK_STREAM); }
  bool Serves() {
    const DaemonClient client(daemon_->grpc_address());
    return client.Health("") == HealthCheckResponse::SERVING;
  }
};

TEST_F(ConnectionsTest, EveryOneOfManyConnectionsIsServed) {
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(Serves()) << i;
}

TEST_F(ConnectionsTest, BytesThatAreNotHttp2EndTheirConnectionOnly) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const UniqueFd owner(socket);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, daemon_->grpc_socket_path().c_str());
  ASSERT_EQ(::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  const std::string junk(100000, '\xff');

  ASSERT_GT(::send(socket, junk.data(), junk.size(), MSG_NOSIGNAL), 0);

  pollfd entry = {.fd = socket, .events = 0, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))), 1);
  EXPECT_TRUE(Serves());
}

TEST_F(ConnectionsTest, ARequestAboveTheLimitIsRefused) {
  const std::unique_ptr<Session> session = client_->Attach();
  v1::JoinGroupRequest request = JoinRequest(*session, "g", 0, 1);
  request.set_secret(std::string(65 * 1024, 'x'));
  v1::JoinGroupResponse response;

  EXPECT_THAT(Join(request, &response), HasCode(grpc::StatusCode::RESOURCE_EXHAUSTED));

  EXPECT_TRUE(Serves());
}

TEST_F(ConnectionsTest, MetadataAboveTheLimitIsRefused) {
  const auto get_stats = [this](std::size_t metadata_bytes) {
    grpc::ClientContext context;
    context.AddMetadata("x-test", std::string(metadata_bytes, 'x'));
    v1::GetStatsResponse response;
    return client_->stat->GetStats(&context, v1::GetStatsRequest(), &response);
  };

  EXPECT_THAT(get_stats(7 * 1024), IsOk());
  EXPECT_THAT(get_stats(9 * 1024), HasCode(grpc::StatusCode::RESOURCE_EXHAUSTED));
}

TEST_F(ConnectionsTest, AConnectionHas128StreamsAndAPlaceComesFree) {
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < 128; ++i) sessions.push_back(client_->Attach());
  ASSERT_NE(sessions.back()->id(), 0U);
  const auto get_stats = [this](absl::Duration timeout) {
    v1::GetStatsResponse response;
    return Call(client_->stat.get(), &v1::StatService::Stub::GetStats, v1::GetStatsRequest(), &response, timeout);
  };

  EXPECT_THAT(get_stats(absl::Milliseconds(100)), HasCode(grpc::StatusCode::DEADLINE_EXCEEDED));
  EXPECT_TRUE(Serves()) << "on another connection";

  sessions.pop_back();
  EXPECT_THAT(get_stats(kPatience), IsOk());
}

class ConnectionLimitTest : public ConnectionsTest {
 protected:
  ConnectionLimitTest() { flags_ = {"--connection-max-per-uid=4", "--socket-mode=0666"}; }
};

TEST_F(ConnectionLimitTest, TheNewcomerIsClosedAndASlotComesFree) {
  ASSERT_TRUE(Serves());
  std::vector<RawConnection> connections;
  ASSERT_TRUE(Eventually([&] {
    connections.push_back(Connect());
    return daemon_->log().find("connection_refused") != std::string::npos;
  }));
  EXPECT_TRUE(Eventually([&] { return connections.back().ClosedByDaemon(); }));
  EXPECT_TRUE(daemon_->WaitForLog("has 4 connections (the limit)"));

  connections.clear();

  EXPECT_TRUE(Eventually([&] { return Serves(); }));
}

TEST_F(ConnectionLimitTest, OneUidsConnectionsDoNotCountForAnother) {
  if (::geteuid() != 0) GTEST_SKIP() << "taking another uid needs root";
  ASSERT_EQ(::chmod(std::filesystem::path(daemon_->runtime_dir()).parent_path().c_str(), 0711), 0);
  std::vector<RawConnection> connections;
  for (int i = 0; i < 8; ++i) connections.push_back(Connect());
  ASSERT_TRUE(daemon_->WaitForLog("connection_refused"));

  PeerProcess other(daemon_->grpc_address(), kOtherUid);

  EXPECT_EQ(other.Command("attach").substr(0, 3), "OK ");
}

// With few descriptors, all of which one uid may have. gRPC's own listener would stay deaf from the first EMFILE on.
class DescriptorFloodTest : public ConnectionsTest {
 protected:
  void SetUp() override {
    DaemonProcess::Options options;
    // A probe needs a descriptor too: health shall come back soon after the flood.
    options.flags = {"--health-interval=50ms"};
    options.flags.insert(options.flags.end(), flags_.begin(), flags_.end());
    options.descriptor_limit = kDescriptorLimit;
    absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = DaemonProcess::Start(options);
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    client_ = std::make_unique<DaemonClient>(daemon_->grpc_address());
  }

  static constexpr std::uint64_t kDescriptorLimit = 128;
  std::vector<std::string> flags_ = {"--descriptor-max-per-uid=1000"};
};

TEST_F(DescriptorFloodTest, TheDaemonServesAgainAfterAFloodOnEitherSocket) {
  ASSERT_TRUE(Serves());
  for (const auto& [path, type] :
       {std::pair(daemon_->grpc_socket_path(), SOCK_STREAM), std::pair(daemon_->fd_socket_path(), SOCK_SEQPACKET)}) {
    {
      std::vector<RawConnection> flood;
      for (int i = 0; i < 400; ++i) flood.emplace_back(path, type);
      EXPECT_TRUE(Eventually([&] { return flood.back().ClosedByDaemon(); })) << path;
    }

    EXPECT_TRUE(Eventually([&] { return Serves(); })) << path;
    const std::unique_ptr<Session> session = client_->Attach();
    ASSERT_NE(session->id(), 0U) << path;
    const v1::RegisterBufferResponse lease = MustRegisterBuffer(session->id(), 4096);
    EXPECT_TRUE(Eventually([&] {
      const auto reply = FdClient(daemon_->fd_socket_path()).Redeem(session->id(), lease.ticket());
      return reply.has_value() && reply->reply.code == grpc::StatusCode::OK;
    })) << path;
    EXPECT_THAT(session->Goodbye(), IsOk());
  }
}

TEST_F(DescriptorFloodTest, LeasesThatNeedDescriptorsAreRefusedAndSurvived) {
  const std::unique_ptr<Session> session = client_->Attach();
  v1::RegisterBufferResponse response;
  grpc::Status status;

  for (int i = 0; i < 200 && status.ok(); ++i) status = RegisterBuffer(session->id(), 4096, &response);

  EXPECT_THAT(status, HasCode(grpc::StatusCode::RESOURCE_EXHAUSTED));
  EXPECT_THAT(session->Goodbye(), IsOk());
  EXPECT_EQ(client_->Stats().devices(0).lease_count(), 0);
}

class DescriptorReserveTest : public DescriptorFloodTest {
 protected:
  DescriptorReserveTest() { flags_ = {"--socket-mode=0666"}; }
};

TEST_F(DescriptorReserveTest, OneUidGetsHalfAndAnotherGoesOn) {
  if (::geteuid() != 0) GTEST_SKIP() << "taking another uid needs root";
  ASSERT_EQ(::chmod(std::filesystem::path(daemon_->runtime_dir()).parent_path().c_str(), 0711), 0);
  std::vector<RawConnection> flood;
  for (int i = 0; i < 100; ++i) flood.push_back(Connect());
  ASSERT_TRUE(daemon_->WaitForLog("of the daemon's descriptors and needs 2 more; its limit is 64"));

  PeerProcess other(daemon_->grpc_address(), kOtherUid);

  const std::string attached = other.Command("attach");
  ASSERT_EQ(attached.substr(0, 3), "OK ") << attached;
  EXPECT_EQ(other.Command("join " + attached.substr(3) + " g 0 1").substr(0, 3), "OK ");
  EXPECT_EQ(daemon_->log().find("connection_shed"), std::string::npos) << "the daemon never ran out";
}

// What another uid sees and may do.
class OtherUidTest : public DaemonTest {
 protected:
  OtherUidTest() { flags_ = {"--socket-mode=0666"}; }

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "taking another uid needs root";
    DaemonTest::SetUp();
    ASSERT_EQ(::chmod(std::filesystem::path(daemon_->runtime_dir()).parent_path().c_str(), 0711), 0);
    session_ = client_->Attach();
    other_ = std::make_unique<PeerProcess>(daemon_->grpc_address(), kOtherUid);
    const std::string attached = other_->Command("attach");
    ASSERT_EQ(attached.substr(0, 3), "OK ") << attached;
    other_session_ = attached.substr(3);
  }

  std::unique_ptr<Session> session_;
  std::unique_ptr<PeerProcess> other_;
  std::string other_session_;
};

TEST_F(OtherUidTest, ListsAndStatsShowOnlyOnesOwn) {
  MustRegisterBuffer(session_->id(), 4096);
  MustFormGroup("g", {session_.get()});

  EXPECT_EQ(other_->Command("count-sessions"), "OK 1");
  EXPECT_EQ(other_->Command("count-buffers"), "OK 0");
  EXPECT_EQ(other_->Command("count-groups"), "OK 0");
  EXPECT_EQ(client_->Stats().sessions_size(), 2) << "root is an administrator";
}

TEST_F(OtherUidTest, AdministrationIsDenied) {
  EXPECT_EQ(other_->Command("drain"), "PERMISSION_DENIED");
  EXPECT_EQ(other_->Command("undrain"), "PERMISSION_DENIED");
  EXPECT_EQ(other_->Command(absl::StrCat("revoke ", session_->id())), "PERMISSION_DENIED");
  EXPECT_EQ(other_->Command("revoke " + other_session_), "PERMISSION_DENIED");
  EXPECT_EQ(other_->Command("reload"), "PERMISSION_DENIED");
  EXPECT_FALSE(client_->Stats().daemon().draining());
}

TEST_F(OtherUidTest, AnothersGroupIsDeniedAndItsNameIsFreeForOneself) {
  const std::uint64_t id = MustFormGroup("g", {session_.get()}).group().group_id();

  EXPECT_EQ(other_->Command(absl::StrCat("get-group ", id)), "PERMISSION_DENIED");
  EXPECT_EQ(other_->Command("join " + other_session_ + " g 0 1").substr(0, 3), "OK ");
}

TEST_F(OtherUidTest, AnothersSessionIsDenied) {
  EXPECT_EQ(other_->Command(absl::StrCat("register ", session_->id(), " 4096")), "PERMISSION_DENIED");
  EXPECT_EQ(other_->Command("register " + other_session_ + " 4096").substr(0, 3), "OK ");
}

TEST_F(OtherUidTest, TheDefaultSocketModeKeepsOthersOut) {
  session_.reset();
  StartDaemon({});
  ASSERT_EQ(::chmod(std::filesystem::path(daemon_->runtime_dir()).parent_path().c_str(), 0711), 0);

  PeerProcess kept_out(daemon_->grpc_address(), kOtherUid);

  EXPECT_EQ(kept_out.Command("attach"), "UNAVAILABLE");
}

class AdministratorsTest : public OtherUidTest {
 protected:
  AdministratorsTest() { flags_ = {"--socket-mode=0666", absl::StrCat("--admin-uids=", kOtherUid)}; }
};

TEST_F(AdministratorsTest, AListedUidMayAdministrate) {
  EXPECT_EQ(other_->Command("count-sessions"), "OK 2");
  EXPECT_EQ(other_->Command("drain"), "OK");
  EXPECT_EQ(other_->Command("undrain"), "OK");
  EXPECT_EQ(other_->Command(absl::StrCat("revoke ", session_->id())), "OK");
}

// A session ends with its process, however that ends.
class DeathTest : public DaemonTest {
 protected:
  // A process with a session that holds memory and is a rank of a group.
  std::unique_ptr<PeerProcess> StartHolder() {
    auto peer = std::make_unique<PeerProcess>(daemon_->grpc_address());
    const std::string session = peer->Command("attach").substr(3);
    EXPECT_EQ(peer->Command("register " + session + " 8388608").substr(0, 3), "OK ");
    EXPECT_EQ(peer->Command("join " + session + " g 0 1").substr(0, 3), "OK ");
    EXPECT_GE(client_->Stats().devices(0).leased_bytes(), 8388608);
    return peer;
  }
  void ExpectNothingHeld() {
    EXPECT_TRUE(Eventually([&] { return client_->Stats().sessions_size() == 0; }));
    const v1::Stats stats = client_->Stats();
    EXPECT_EQ(stats.devices(0).leased_bytes(), 0);
    EXPECT_EQ(stats.devices(0).lease_count(), 0);
    EXPECT_EQ(stats.groups_size(), 0);
    EXPECT_EQ(stats.daemon().sessions_died_total(), 1U);
  }
};

TEST_F(DeathTest, BySignal) {
  for (const int signal : {SIGKILL, SIGSEGV, SIGTERM}) {
    StartDaemon({});
    const std::unique_ptr<PeerProcess> holder = StartHolder();

    holder->Kill(signal);

    ExpectNothingHeld();
  }
}

TEST_F(DeathTest, ByExit) {
  const std::unique_ptr<PeerProcess> holder = StartHolder();

  EXPECT_EQ(holder->Command("exit"), "");

  ExpectNothingHeld();
}

TEST_F(DeathTest, AStoppedProcessKeepsWhatItHolds) {
  const std::unique_ptr<PeerProcess> stopped = StartHolder();
  ::kill(stopped->pid(), SIGSTOP);
  const std::unique_ptr<PeerProcess> other = std::make_unique<PeerProcess>(daemon_->grpc_address());
  ASSERT_EQ(other->Command("attach").substr(0, 3), "OK ");

  other->Kill(SIGKILL);
  ASSERT_TRUE(Eventually([&] { return client_->Stats().daemon().sessions_died_total() == 1; }));

  EXPECT_EQ(client_->Stats().sessions_size(), 1);
  EXPECT_TRUE(client_->Stats().sessions(0).stream_open());
  EXPECT_GE(client_->Stats().devices(0).leased_bytes(), 8388608);
  ::kill(stopped->pid(), SIGCONT);
  EXPECT_EQ(stopped->Command("count-sessions"), "OK 1");
}

}  // namespace
}  // namespace a8a::testing
