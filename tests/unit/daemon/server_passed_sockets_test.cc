#include "daemon/passed_sockets.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/listening_socket.h"
#include "tests/support/temp_dir.h"

namespace a8a::daemon {
namespace {

using ::a8a::testing::BoundSocket;
using ::a8a::testing::ListeningSocket;
using ::testing::HasSubstr;

class PassedSocketsTest : public ::testing::Test {
 protected:
  PassedSocketsTest() { options_.runtime_dir = directory_.path(); }

  void Pass(UniqueFd fd) { passed_.push_back({.name = "a8a.socket", .fd = std::move(fd)}); }
  void PassBoth() {
    Pass(ListeningSocket(fd_path_, SOCK_SEQPACKET));
    Pass(ListeningSocket(grpc_path_, SOCK_STREAM));
  }
  void ExpectRefused(const std::string& message) {
    const absl::StatusOr<Listeners> listeners = IdentifySockets(std::move(passed_), options_);
    EXPECT_EQ(listeners.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(listeners.status().message()), HasSubstr(message));
  }

  const testing::TempDir directory_;
  const std::string grpc_path_ = directory_.path() + "/a8a.sock";
  const std::string fd_path_ = directory_.path() + "/fd.sock";
  Options options_;
  std::vector<PassedSocket> passed_;
};

TEST_F(PassedSocketsTest, AreToldApartByTheirPathsAndDoNotBlock) {
  PassBoth();
  const int fd = passed_[0].fd.get();
  const int grpc = passed_[1].fd.get();

  const absl::StatusOr<Listeners> listeners = IdentifySockets(std::move(passed_), options_);

  ASSERT_TRUE(listeners.ok()) << listeners.status();
  EXPECT_EQ(listeners->fd.get(), fd);
  EXPECT_EQ(listeners->grpc.get(), grpc);
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(grpc, F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(PassedSocketsTest, TheDirectoryMayHaveTwoNames) {
  PassBoth();
  const testing::TempDir other;
  std::filesystem::create_directory_symlink(directory_.path(), other.path() + "/run");
  options_.runtime_dir = other.path() + "/run";

  EXPECT_TRUE(IdentifySockets(std::move(passed_), options_).ok());
}

TEST_F(PassedSocketsTest, NonePassedAreNoneReturned) {
  const absl::StatusOr<Listeners> listeners = IdentifySockets({}, options_);

  ASSERT_TRUE(listeners.ok()) << listeners.status();
  EXPECT_FALSE(listeners->grpc.valid() || listeners->fd.valid());
}

TEST_F(PassedSocketsTest, OneWithoutTheOtherIsRefused) {
  Pass(ListeningSocket(grpc_path_, SOCK_STREAM));
  ExpectRefused("socket a8a.sock was passed without fd.sock");

  passed_.clear();
  Pass(ListeningSocket(fd_path_, SOCK_SEQPACKET));
  ExpectRefused("socket fd.sock was passed without a8a.sock");
}

TEST_F(PassedSocketsTest, OneOfAnotherDirectoryIsRefused) {
  const testing::TempDir other;
  Pass(ListeningSocket(other.path() + "/a8a.sock", SOCK_STREAM));

  ExpectRefused(absl::StrCat("passed socket ", other.path(), "/a8a.sock is neither ", grpc_path_));
}

TEST_F(PassedSocketsTest, OneWhoseFileIsGoneIsRefused) {
  PassBoth();
  std::filesystem::remove(grpc_path_);

  ExpectRefused("its file has been removed");
}

TEST_F(PassedSocketsTest, OneOfTheWrongTypeIsRefused) {
  Pass(ListeningSocket(grpc_path_, SOCK_SEQPACKET));
  ExpectRefused("a8a.sock is a SOCK_SEQPACKET (ListenSequentialPacket=); must be a SOCK_STREAM (ListenStream=)");

  passed_.clear();
  Pass(ListeningSocket(fd_path_, SOCK_STREAM));
  ExpectRefused("fd.sock is a SOCK_STREAM (ListenStream=); must be a SOCK_SEQPACKET (ListenSequentialPacket=)");
}

TEST_F(PassedSocketsTest, OneThatDoesNotListenIsRefused) {
  Pass(BoundSocket(grpc_path_, SOCK_STREAM));

  ExpectRefused("a8a.sock does not listen");
}

TEST_F(PassedSocketsTest, TheSameTwiceIsRefused) {
  PassBoth();
  Pass(UniqueFd(::dup(passed_[0].fd.get())));

  ExpectRefused("fd.sock was passed twice");
}

TEST_F(PassedSocketsTest, OneWithoutAPathIsRefused) {
  Pass(UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  ExpectRefused("(\"a8a.socket\") is no Unix socket with a path");

  passed_.clear();
  Pass(UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  ExpectRefused("is no Unix socket with a path");
}

// What legacy_ipc allows depends on who can connect, by socket_mode.
TEST_F(PassedSocketsTest, OneThatLetsInMoreThanTheConfigSaysIsRefused) {
  options_.socket_mode = 0600;
  PassBoth();
  ASSERT_EQ(::chmod(fd_path_.c_str(), 0660), 0);

  ExpectRefused("fd.sock has mode 0660, which lets in more than socket_mode 0600");
}

TEST_F(PassedSocketsTest, OneThatLetsInFewerIsTaken) {
  options_.socket_mode = 0660;
  PassBoth();
  ASSERT_EQ(::chmod(fd_path_.c_str(), 0600), 0);

  EXPECT_TRUE(IdentifySockets(std::move(passed_), options_).ok());
}

TEST_F(PassedSocketsTest, OneOfAnotherGroupIsRefused) {
  options_.socket_group = absl::StrCat(::getegid() + 1);
  PassBoth();

  ExpectRefused(absl::StrCat("fd.sock belongs to gid ", ::getegid(), ", socket_group \"", ::getegid() + 1, "\""));
}

}  // namespace
}  // namespace a8a::daemon
