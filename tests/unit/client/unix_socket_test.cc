#include "client/src/unix_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace a8a::client {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;

class UnixSocketTest : public ::testing::Test {
 protected:
  // A socket that is bound to path_, with room for one waiting connection once `listens`.
  [[nodiscard]] UniqueFd Bind(bool listens) const {
    UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    if (listens) {
      EXPECT_EQ(listen(listener.get(), 0), 0);
    }
    return listener;
  }

  absl::StatusOr<UniqueFd> Connect(absl::Duration timeout = absl::Seconds(30)) const {
    return ConnectUnixSocket(path_, SOCK_STREAM, absl::Now() + timeout);
  }

  testing::TempDir dir_;
  std::string path_ = dir_.path() + "/socket";
};

TEST_F(UnixSocketTest, ConnectsAndIsClosedOnExec) {
  const UniqueFd listener = Bind(/*listens=*/true);

  const auto socket = Connect();

  ASSERT_THAT(socket, IsOk());
  EXPECT_EQ(fcntl(socket->get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(UnixSocketTest, NoSocketAndADeadOneAreUnavailableAndNamed) {
  EXPECT_THAT(Connect(), StatusIs(StatusCode::kUnavailable, AllOf(HasSubstr(path_), HasSubstr("No such file"))));
  { const UniqueFd dead = Bind(/*listens=*/false); }
  EXPECT_THAT(Connect(), StatusIs(StatusCode::kUnavailable, AllOf(HasSubstr(path_), HasSubstr("refused"))));
}

TEST_F(UnixSocketTest, ASocketThatMayNotBeOpenedIsPermissionDenied) {
  const UniqueFd listener = Bind(/*listens=*/true);
  ASSERT_EQ(chmod(path_.c_str(), 0), 0);
  ASSERT_EQ(chmod(dir_.path().c_str(), 0755), 0);
  // Root may open anything: try as nobody.
  const uid_t uid = geteuid();
  ASSERT_EQ(seteuid(uid == 0 ? 65534 : uid), 0);

  const auto socket = Connect();

  ASSERT_EQ(seteuid(uid), 0);
  EXPECT_THAT(socket, StatusIs(StatusCode::kPermissionDenied, HasSubstr(path_)));
}

TEST_F(UnixSocketTest, AListenerThatDoesNotAcceptIsADeadline) {
  const UniqueFd listener = Bind(/*listens=*/true);
  const auto waiting = Connect();  // takes the only place in the queue
  ASSERT_THAT(waiting, IsOk());

  EXPECT_THAT(Connect(absl::Milliseconds(50)), StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("does not accept")));
}

TEST_F(UnixSocketTest, ATooLongPathSaysHowLongItMayBe) {
  path_ = "/" + std::string(107, 'x');

  EXPECT_THAT(Connect(), StatusIs(StatusCode::kInvalidArgument, HasSubstr("has 108 bytes; an address holds 107")));
}

TEST_F(UnixSocketTest, WaitingEndsWithReadinessOrTheDeadline) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const UniqueFd one(pair[0]);
  const UniqueFd two(pair[1]);

  EXPECT_THAT(WaitForSocket(one.get(), POLLOUT, absl::Now() + absl::Seconds(30)), IsOk());
  EXPECT_THAT(WaitForSocket(one.get(), POLLIN, absl::Now() + absl::Milliseconds(20)),
              StatusIs(StatusCode::kDeadlineExceeded));
  ASSERT_EQ(write(two.get(), "x", 1), 1);
  EXPECT_THAT(WaitForSocket(one.get(), POLLIN, absl::InfinitePast()), IsOk());
}

}  // namespace
}  // namespace a8a::client
