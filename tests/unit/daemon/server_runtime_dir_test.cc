#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "daemon/runtime_dir.h"
#include "tests/support/listening_socket.h"
#include "tests/support/temp_dir.h"

namespace a8a::daemon {
namespace {

using ::a8a::testing::TempDir;
using ::testing::HasSubstr;

class RuntimeDirTest : public ::testing::Test {
 protected:
  static RuntimeDir::SocketOptions Stream(mode_t mode) { return {.type = SOCK_STREAM, .mode = mode, .group = ""}; }

  const TempDir parent_;
  const std::string path_ = parent_.path() + "/run";
};

TEST_F(RuntimeDirTest, MakesTheDirectoryAndRemovesEverything) {
  {
    const auto directory = RuntimeDir::Open(path_);
    ASSERT_TRUE(directory.ok()) << directory.status();
    ASSERT_TRUE((*directory)->Listen("a8a.sock", Stream(0660)).ok());
    EXPECT_TRUE(std::filesystem::exists(path_ + "/a8a.sock"));
  }

  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(RuntimeDirTest, KeepsADirectoryThatWasThere) {
  std::filesystem::create_directory(path_);

  { ASSERT_TRUE(RuntimeDir::Open(path_).ok()); }

  EXPECT_TRUE(std::filesystem::is_empty(path_));
}

TEST_F(RuntimeDirTest, ASecondOpenNamesTheFirstPid) {
  const auto first = RuntimeDir::Open(path_);
  ASSERT_TRUE(first.ok()) << first.status();

  const auto second = RuntimeDir::Open(path_);

  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(absl::StrCat("(pid ", ::getpid(), ")")));
  EXPECT_TRUE(std::filesystem::exists(path_ + "/a8a.pid")) << "the second one must not remove the first one's file";
}

TEST_F(RuntimeDirTest, SomebodysFileInTheWayStays) {
  const auto directory = RuntimeDir::Open(path_);
  ASSERT_TRUE(directory.ok()) << directory.status();
  std::ofstream(path_ + "/a8a.sock") << "not a socket";

  const auto socket = (*directory)->Listen("a8a.sock", Stream(0660));

  EXPECT_EQ(socket.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(socket.status().message()), HasSubstr(path_ + "/a8a.sock is in the way"));
  EXPECT_TRUE(std::filesystem::exists(path_ + "/a8a.sock"));
  std::filesystem::remove(path_ + "/a8a.sock");
}

// A service manager's, which a daemon that was started by hand would make deaf.
TEST_F(RuntimeDirTest, ASocketThatSomebodyListensOnStays) {
  const auto directory = RuntimeDir::Open(path_);
  ASSERT_TRUE(directory.ok()) << directory.status();
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    const UniqueFd listener = testing::ListeningSocket(path_ + "/a8a.sock", type);

    const auto socket = (*directory)->Listen("a8a.sock", Stream(0660));

    EXPECT_EQ(socket.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(socket.status().message()), HasSubstr(path_ + "/a8a.sock is listened on by somebody else"));
    EXPECT_TRUE(std::filesystem::exists(path_ + "/a8a.sock"));
  }
  EXPECT_TRUE((*directory)->Listen("a8a.sock", Stream(0660)).ok()) << "nobody listens any more";
}

TEST_F(RuntimeDirTest, SocketsGetTheModeAskedFor) {
  const auto directory = RuntimeDir::Open(path_);
  ASSERT_TRUE(directory.ok()) << directory.status();

  ASSERT_TRUE((*directory)->Listen("a8a.sock", Stream(0606)).ok());

  struct stat status = {};
  ASSERT_EQ(::stat((path_ + "/a8a.sock").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0606U);
}

TEST_F(RuntimeDirTest, AnUnknownGroupIsRefusedAndLeavesNothing) {
  {
    const auto directory = RuntimeDir::Open(path_);
    ASSERT_TRUE(directory.ok()) << directory.status();
    const auto socket = (*directory)->Listen("a8a.sock", {.type = SOCK_STREAM, .mode = 0660, .group = "no-such-group"});
    EXPECT_EQ(socket.status().code(), absl::StatusCode::kInvalidArgument);
  }

  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(RuntimeDirTest, ADirectoryThatEverybodyMayWriteIsRefused) {
  std::filesystem::create_directory(path_);
  ASSERT_EQ(::chmod(path_.c_str(), 0777), 0);

  EXPECT_EQ(RuntimeDir::Open(path_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RuntimeDirTest, AFileInPlaceOfTheDirectoryIsRefused) {
  std::ofstream(path_) << "x";

  EXPECT_EQ(RuntimeDir::Open(path_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RuntimeDirTest, AMissingParentIsNamed) {
  const auto directory = RuntimeDir::Open(parent_.path() + "/none/run");

  EXPECT_EQ(directory.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(directory.status().message()), HasSubstr("/none/run"));
}

}  // namespace
}  // namespace a8a::daemon
