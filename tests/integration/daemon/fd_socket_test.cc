// fd.sock as proto/fd_protocol.h states it: tickets, and clients that do not keep to it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/peer_process.h"

namespace a8a::testing {
namespace {

using ::testing::Each;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

class FdSocketTest : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    session_ = client_->Attach();
    lease_ = MustRegisterBuffer(session_->id(), kMiB);
    fds_ = std::make_unique<FdClient>(daemon_->fd_socket_path());
  }

  static int Code(const std::optional<FdClient::Reply>& reply) {
    if (!reply.has_value()) return -1;
    EXPECT_EQ(reply->reply.magic, kFdMagic);
    EXPECT_EQ(reply->fd.valid(), reply->reply.code == grpc::StatusCode::OK) << "a descriptor comes with OK only";
    return reply->reply.code;
  }
  int DaemonDescriptorCount() const {
    const std::filesystem::directory_iterator files(absl::StrCat("/proc/", daemon_->pid(), "/fd"));
    return static_cast<int>(std::distance(begin(files), end(files)));
  }
  // The daemon answers INVALID_ARGUMENT and closes the connection.
  void ExpectRefusedAndClosed() {
    EXPECT_EQ(Code(fds_->Receive()), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_FALSE(fds_->Receive().has_value());
  }
  // Someone who keeps to the protocol is served.
  void ExpectServed() {
    FdClient other(daemon_->fd_socket_path());
    EXPECT_EQ(Code(other.Redeem(session_->id(), lease_.ticket())), grpc::StatusCode::OK);
  }

  std::unique_ptr<Session> session_;
  v1::RegisterBufferResponse lease_;
  std::unique_ptr<FdClient> fds_;
};

TEST_F(FdSocketTest, ATicketGivesTheLeasedMemoryZeroAndOfItsFullSize) {
  const auto reply = fds_->Redeem(session_->id(), lease_.ticket());

  ASSERT_EQ(Code(reply), grpc::StatusCode::OK);
  EXPECT_EQ(reply->reply.size_bytes, kMiB);
  struct stat status = {};
  ASSERT_EQ(::fstat(reply->fd.get(), &status), 0);
  EXPECT_EQ(status.st_size, kMiB);
  void* memory = ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, reply->fd.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::vector<char> bytes(static_cast<char*>(memory), static_cast<char*>(memory) + kMiB);
  EXPECT_THAT(bytes, Each('\0'));
  EXPECT_NE(::ftruncate(reply->fd.get(), 0), 0) << "nobody may pull the memory from under the others";
  ::munmap(memory, kMiB);
}

TEST_F(FdSocketTest, TwoTicketsOfOneBufferGiveTheSameMemory) {
  v1::GetBufferRequest request;
  v1::GetBufferResponse response;
  request.set_session_id(session_->id());
  request.set_buffer_id(lease_.buffer().buffer_id());
  request.set_issue_ticket(true);
  ASSERT_THAT(Call(client_->buffer.get(), &v1::BufferService::Stub::GetBuffer, request, &response), IsOk());

  const auto first = fds_->Redeem(session_->id(), lease_.ticket());
  const auto second = fds_->Redeem(session_->id(), response.ticket());

  ASSERT_EQ(Code(first), grpc::StatusCode::OK);
  ASSERT_EQ(Code(second), grpc::StatusCode::OK);
  const char written = 'x';
  char read = 0;
  ASSERT_EQ(::pwrite(first->fd.get(), &written, 1, 123), 1);
  ASSERT_EQ(::pread(second->fd.get(), &read, 1, 123), 1);
  EXPECT_EQ(read, written);
}

TEST_F(FdSocketTest, ATicketWorksOnce) {
  ASSERT_EQ(Code(fds_->Redeem(session_->id(), lease_.ticket())), grpc::StatusCode::OK);

  EXPECT_EQ(Code(fds_->Redeem(session_->id(), lease_.ticket())), grpc::StatusCode::NOT_FOUND);
}

TEST_F(FdSocketTest, ATicketThatWasNeverIssuedIsNotFound) {
  v1::Ticket ticket;
  ticket.set_value(std::string(16, '\0'));

  const auto reply = fds_->Redeem(session_->id(), ticket);

  EXPECT_EQ(Code(reply), grpc::StatusCode::NOT_FOUND);
  EXPECT_NE(std::string(reply->reply.message), "");
}

TEST_F(FdSocketTest, ATicketOfAnotherSessionIsDeniedAndStaysValidForItsOwner) {
  const std::unique_ptr<Session> other = client_->Attach();

  EXPECT_EQ(Code(fds_->Redeem(other->id(), lease_.ticket())), grpc::StatusCode::PERMISSION_DENIED);

  EXPECT_EQ(Code(fds_->Redeem(session_->id(), lease_.ticket())), grpc::StatusCode::OK);
}

TEST_F(FdSocketTest, ATicketInAnotherProcessIsDeniedAndStaysValidForItsOwner) {
  PeerProcess peer(daemon_->grpc_address());

  EXPECT_EQ(peer.Command(absl::StrCat("redeem ", daemon_->fd_socket_path(), " ", session_->id(), " ",
                                      absl::BytesToHexString(lease_.ticket().value()))),
            "PERMISSION_DENIED");

  EXPECT_EQ(Code(fds_->Redeem(session_->id(), lease_.ticket())), grpc::StatusCode::OK);
}

TEST_F(FdSocketTest, ATicketEndsWithItsLease) {
  v1::ReleaseBufferRequest request;
  v1::ReleaseBufferResponse response;
  request.set_session_id(session_->id());
  request.set_buffer_id(lease_.buffer().buffer_id());
  request.set_generation(lease_.buffer().generation());
  ASSERT_THAT(Call(client_->buffer.get(), &v1::BufferService::Stub::ReleaseBuffer, request, &response), IsOk());

  EXPECT_EQ(Code(fds_->Redeem(session_->id(), lease_.ticket())), grpc::StatusCode::NOT_FOUND);
}

TEST_F(FdSocketTest, ManyRequestsOnOneConnection) {
  for (int i = 0; i < 100; ++i) {
    const v1::RegisterBufferResponse lease = MustRegisterBuffer(session_->id(), 4096);
    ASSERT_EQ(Code(fds_->Redeem(session_->id(), lease.ticket())), grpc::StatusCode::OK) << i;
  }
}

TEST_F(FdSocketTest, AShortMessageEndsTheConnection) {
  ASSERT_TRUE(fds_->Send("junk", 4));

  ExpectRefusedAndClosed();
  ExpectServed();
}

TEST_F(FdSocketTest, AnOversizedMessageEndsTheConnection) {
  const std::string junk(64 * 1024, 'x');
  ASSERT_TRUE(fds_->Send(junk.data(), junk.size()));

  ExpectRefusedAndClosed();
  ExpectServed();
}

TEST_F(FdSocketTest, AWrongMagicOrReservedFieldEndsTheConnection) {
  FdRequest request = {
      .magic = kFdMagic + 1, .kind = FdRequestKind::kRedeem, .session_id = session_->id(), .argument = {}};
  ASSERT_TRUE(fds_->Send(&request, sizeof(request)));
  ExpectRefusedAndClosed();

  fds_ = std::make_unique<FdClient>(daemon_->fd_socket_path());
  request.magic = kFdMagic;
  request.kind = static_cast<FdRequestKind>(4);
  ASSERT_TRUE(fds_->Send(&request, sizeof(request)));
  ExpectRefusedAndClosed();
  ExpectServed();
}

TEST_F(FdSocketTest, MessagesBehindAMalformedOneDoNotHideTheAnswer) {
  ASSERT_TRUE(fds_->Send("junk", 4));
  // The daemon may have closed the connection by now.
  for (int i = 0; i < 5; ++i) fds_->Send("more", 4);

  ExpectRefusedAndClosed();
}

TEST_F(FdSocketTest, DescriptorsThatAreSentNeverStayInTheDaemon) {
  const int before = DaemonDescriptorCount();
  std::vector<int> sent(100);
  for (int& fd : sent) fd = ::dup(STDERR_FILENO);
  FdRequest request = {.magic = kFdMagic, .kind = FdRequestKind::kRedeem, .session_id = session_->id(), .argument = {}};
  std::vector<char> control(CMSG_SPACE(sent.size() * sizeof(int)));
  iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sent.size() * sizeof(int));
  std::memcpy(CMSG_DATA(header), sent.data(), sent.size() * sizeof(int));

  ASSERT_EQ(::sendmsg(fds_->fd(), &message, MSG_NOSIGNAL), static_cast<ssize_t>(sizeof(request)));

  for (const int fd : sent) ::close(fd);
  ExpectRefusedAndClosed();
  EXPECT_TRUE(Eventually([&] { return DaemonDescriptorCount() <= before; }));
  ExpectServed();
}

TEST_F(FdSocketTest, AReaderThatNeverReadsIsDroppedAndHoldsNobodyUp) {
  const int flags = ::fcntl(fds_->fd(), F_GETFL);
  ASSERT_EQ(::fcntl(fds_->fd(), F_SETFL, flags | O_NONBLOCK), 0);
  const std::string ticket(16, 'x');

  // Until the daemon has closed the connection; EAGAIN means that it has not come to it yet.
  const bool dropped = Eventually([&] {
    while (fds_->Send(session_->id(), ticket)) {
    }
    return errno == EPIPE || errno == ECONNRESET;
  });

  EXPECT_TRUE(dropped);
  ExpectServed();
}

TEST_F(FdSocketTest, ASilentConnectionIsClosed) {
  // Blocks until the daemon closes it, after kFdIdleTimeoutMs.
  EXPECT_FALSE(fds_->Receive().has_value());
  ExpectServed();
}

class ShortTicketTest : public FdSocketTest {
 protected:
  ShortTicketTest() { flags_ = {"--ticket-lifetime=50ms"}; }
};

TEST_F(ShortTicketTest, ALateTicketIsNotFound) {
  // The passing of time is what is tested.
  absl::SleepFor(absl::Milliseconds(100));

  EXPECT_EQ(Code(fds_->Redeem(session_->id(), lease_.ticket())), grpc::StatusCode::NOT_FOUND);
}

class FdConnectionLimitTest : public FdSocketTest {
 protected:
  FdConnectionLimitTest() { flags_ = {"--connection-max-per-uid=4"}; }
};

TEST_F(FdConnectionLimitTest, TheNewcomerIsToldAndASlotComesFree) {
  std::vector<std::unique_ptr<FdClient>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<FdClient>(daemon_->fd_socket_path()));
    // Answered: so the daemon has counted it.
    v1::Ticket ticket;
    ticket.set_value(std::string(16, 'x'));
    ASSERT_EQ(Code(clients.back()->Redeem(session_->id(), ticket)), grpc::StatusCode::NOT_FOUND);
  }

  const FdClient newcomer(daemon_->fd_socket_path());
  const auto refusal = newcomer.Receive();

  EXPECT_EQ(Code(refusal), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_FALSE(newcomer.Receive().has_value());
  clients.clear();
  EXPECT_TRUE(Eventually([&] {
    const FdClient next(daemon_->fd_socket_path());
    return Code(next.Redeem(session_->id(), lease_.ticket())) == grpc::StatusCode::OK;
  }));
}

}  // namespace
}  // namespace a8a::testing
