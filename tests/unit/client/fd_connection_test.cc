// fd.sock's client side against a peer that follows the protocol, and against peers that do not.
#include "client/src/fd_connection.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace a8a::client {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint64_t kSessionId = 7;
const std::string kTicket = "0123456789abcdef";

class FdConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    peer_ = UniqueFd(pair[0]);
    connection_ = std::make_unique<FdConnection>(UniqueFd(pair[1]), "fd.sock");
    memory_ = UniqueFd(memfd_create("memory", MFD_CLOEXEC));
  }

  // Answers before it is asked: the answer waits in the socket.
  void Answer(const void* bytes, std::size_t size, int descriptor_count) {
    iovec part = {.iov_base = const_cast<void*>(bytes), .iov_len = size};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const std::vector<int> fds(static_cast<std::size_t>(descriptor_count), memory_.get());
    alignas(cmsghdr) std::array<char, CMSG_SPACE(16 * sizeof(int))> control = {};
    if (descriptor_count > 0) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
    }
    ASSERT_EQ(sendmsg(peer_.get(), &message, 0), static_cast<ssize_t>(size)) << std::strerror(errno);
  }
  void Answer(StatusCode code, const std::string& text, int descriptor_count, std::uint32_t magic = kFdMagic) {
    FdReply reply = {.magic = magic, .code = static_cast<std::int32_t>(code), .size_bytes = 4096, .message = {}};
    text.copy(reply.message, sizeof(reply.message) - 1);
    Answer(&reply, sizeof(reply), descriptor_count);
  }

  absl::StatusOr<FdConnection::Redeemed> Redeem(absl::Duration timeout = absl::Seconds(30)) {
    return connection_->Redeem(kSessionId, kTicket, "window \"w\"", absl::Now() + timeout);
  }

  UniqueFd peer_;
  UniqueFd memory_;
  std::unique_ptr<FdConnection> connection_;
};

TEST_F(FdConnectionTest, ATicketBecomesADescriptorThatIsClosedOnExec) {
  Answer(StatusCode::kOk, "", 1);

  const auto redeemed = Redeem();

  ASSERT_THAT(redeemed, IsOk());
  EXPECT_EQ(redeemed->size_bytes, 4096);
  EXPECT_EQ(fcntl(redeemed->fd.get(), F_GETFD), FD_CLOEXEC);
  FdRequest request = {};
  ASSERT_EQ(recv(peer_.get(), &request, sizeof(request), 0), static_cast<ssize_t>(sizeof(request)));
  EXPECT_EQ(request.magic, kFdMagic);
  EXPECT_EQ(request.session_id, kSessionId);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(request.argument), kTicketBytes), kTicket);
}

TEST_F(FdConnectionTest, OneConnectionServesManyTickets) {
  for (int i = 0; i < 5; ++i) Answer(StatusCode::kOk, "", 1);

  for (int i = 0; i < 5; ++i) EXPECT_THAT(Redeem(), IsOk());
}

TEST_F(FdConnectionTest, TheDaemonsErrorKeepsItsCodeAndSaysWhatItWasFor) {
  Answer(StatusCode::kNotFound, "no such ticket", 0);

  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kNotFound,
                                 AllOf(HasSubstr("window \"w\""), HasSubstr("no such ticket"), HasSubstr("fd.sock"))));
}

TEST_F(FdConnectionTest, ARefusalThatComesBeforeTheRequestIsRead) {
  Answer(StatusCode::kResourceExhausted, "too many connections", 0);
  peer_.Reset();

  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kResourceExhausted, HasSubstr("too many connections")));
}

TEST_F(FdConnectionTest, APeerThatIsGoneIsUnavailableAndRaisesNoSignal) {
  peer_.Reset();

  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kUnavailable));
}

TEST_F(FdConnectionTest, ASilentPeerIsADeadline) {
  EXPECT_THAT(Redeem(absl::Milliseconds(50)), StatusIs(StatusCode::kDeadlineExceeded));
}

TEST_F(FdConnectionTest, APeerThatDoesNotReadIsADeadline) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd reader(pair[0]);
  const FdRequest request = {};
  while (send(pair[1], &request, sizeof(request), MSG_DONTWAIT) > 0) {  // until there is no room for one more
  }
  FdConnection full(UniqueFd(pair[1]), "fd.sock");

  EXPECT_THAT(full.Redeem(kSessionId, kTicket, "w", absl::Now() + absl::Milliseconds(50)),
              StatusIs(StatusCode::kDeadlineExceeded));
}

TEST_F(FdConnectionTest, AnswersThatTheProtocolDoesNotKnowAreInternalErrors) {
  Answer(StatusCode::kOk, "", 1, /*magic=*/0);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kInternal, HasSubstr("magic 0")));
  Answer("short", 5, 0);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kInternal, HasSubstr("5 bytes")));
  const std::string longer(sizeof(FdReply) + 1, '\0');
  Answer(longer.data(), longer.size(), 1);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kInternal, HasSubstr("209 bytes")));
  Answer(static_cast<StatusCode>(77), "", 0);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kInternal, HasSubstr("unknown code 77")));
  Answer(StatusCode::kOk, "", 0);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kInternal, HasSubstr("0 descriptors")));
}

TEST_F(FdConnectionTest, SurplusDescriptorsAreClosed) {
  const int next_before = dup(memory_.get());
  close(next_before);

  Answer(StatusCode::kOk, "", 3);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kInternal, HasSubstr("3 descriptors")));
  Answer(StatusCode::kNotFound, "gone, and yet it sends", 2);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kNotFound));
  Answer(StatusCode::kOk, "", 16);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kInternal));
  Answer(nullptr, 0, 3);
  EXPECT_THAT(Redeem(), StatusIs(StatusCode::kUnavailable)) << "as the end of the connection";

  const int next_after = dup(memory_.get());
  close(next_after);
  EXPECT_EQ(next_after, next_before) << "lowest free number";
}

TEST_F(FdConnectionTest, AProcessWithoutDescriptorsLeftIsToldSo) {
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(memory_.get());
  close(next);
  Answer(StatusCode::kOk, "", 1);
  const rlimit none = {.rlim_cur = static_cast<rlim_t>(next), .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);

  const auto redeemed = Redeem();

  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(redeemed, StatusIs(StatusCode::kResourceExhausted, HasSubstr("RLIMIT_NOFILE")));
}

TEST_F(FdConnectionTest, ATicketOfTheWrongSizeIsNotSent) {
  EXPECT_THAT(connection_->Redeem(kSessionId, "short", "w", absl::Now() + absl::Seconds(1)),
              StatusIs(StatusCode::kInternal, HasSubstr("5 bytes; expected 16")));
  char byte = 0;
  EXPECT_EQ(recv(peer_.get(), &byte, 1, MSG_DONTWAIT), -1);
}

}  // namespace
}  // namespace a8a::client
