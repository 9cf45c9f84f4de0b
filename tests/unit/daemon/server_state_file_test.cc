// The state of one daemon as bytes and as a file: whole, or refused.
#include "daemon/state_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "daemon/snapshot.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace a8a::daemon {
namespace {

using a8a::testing::TempDir;
using absl::StatusCode;
using ::testing::HasSubstr;

// Every field differs from its default.
CoreState FullState() {
  CoreState state;
  state.state_id = 11;
  state.next_session_id = 12;
  state.next_group_id = 13;
  state.next_buffer_id = 14;
  state.next_generation = 15;
  state.sessions_total = 16;
  state.groups_total = 17;
  state.sessions_died_total = 18;
  state.devices = {{"host", "uuid", 19}};
  SessionState session;
  session.session_id = 3;
  session.client_name = "worker";
  session.identity = {.uid = 1000, .gid = 1001, .pid = 1002, .start_ticks = 1003};
  session.told_to_drain = true;
  session.leased_bytes_peak = 4096;
  session.revoked = {{5, 6, EndReason::kRevoked}};
  state.sessions = {session};
  LeaseState lease;
  lease.buffer = {.buffer_id = 7,
                  .generation = 8,
                  .device = "host",
                  .size_bytes = 9,
                  .session_id = 3,
                  .name = "name",
                  .group_id = 4};
  lease.device_uuid = "GPU";
  lease.uid = 1000;
  lease.rank = 1;
  lease.file = {21, 22};
  state.leases = {lease};
  GroupRecord group;
  group.group_id = 4;
  group.uid = 1000;
  group.name = "tp";
  group.world_size = 2;
  group.channel_count = 3;
  group.device_kind = DeviceKind::kCuda;
  group.ended = true;
  group.end_reason = EndReason::kDrained;
  group.end_rank = 1;
  group.end_text = "why";
  group.members = {{1, 3, 1002, 7, 23}};
  group.windows = {{2, "w", {{24, 0, UserMemory{"handle", 25}, true}, {26, 27, std::nullopt, false}}}};
  group.control_file = {28, 29};
  state.groups = {group};
  return state;
}

TEST(SnapshotTest, WhatIsReadIsWhatWasWritten) {
  const std::string bytes = SerializeSnapshot(FullState(), "boot");
  A8A_ASSERT_OK_AND_ASSIGN(const CoreState state, ParseSnapshot(bytes, "boot"));

  // Field by field through the same bytes: a field that one way forgets is missing in the second writing.
  EXPECT_EQ(SerializeSnapshot(state, "boot"), bytes);
  EXPECT_EQ(state.sessions.at(0).identity.start_ticks, 1003U);
  EXPECT_EQ(state.sessions.at(0).revoked.at(0).reason, EndReason::kRevoked);
  EXPECT_EQ(state.leases.at(0).file, (FileId{21, 22}));
  EXPECT_EQ(state.groups.at(0).end_reason, EndReason::kDrained);
  EXPECT_EQ(state.groups.at(0).windows.at(0).parts.at(0).user_memory->offset_bytes, 25);
  EXPECT_EQ(state.groups.at(0).control_file, (FileId{28, 29}));
}

TEST(SnapshotTest, OneThatIsCutAnywhereIsRefused) {
  const std::string bytes = SerializeSnapshot(FullState(), "boot");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(ParseSnapshot(bytes.substr(0, size), "boot"), StatusIs(StatusCode::kInvalidArgument)) << size;
  }
  EXPECT_THAT(ParseSnapshot(bytes + '\0', "boot"), StatusIs(StatusCode::kInvalidArgument));
}

TEST(SnapshotTest, OneThatIsAlteredAnywhereIsRefused) {
  const std::string bytes = SerializeSnapshot(FullState(), "boot");
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const int bit : {0, 7}) {
      std::string altered = bytes;
      altered[i] = static_cast<char>(altered[i] ^ 1 << bit);
      EXPECT_FALSE(ParseSnapshot(altered, "boot").ok()) << "byte " << i << ", bit " << bit;
    }
  }
}

TEST(SnapshotTest, OneOfAnotherBootOrFormatIsRefused) {
  std::string bytes = SerializeSnapshot(FullState(), "boot");
  EXPECT_THAT(ParseSnapshot(bytes, "later"), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("earlier boot")));
  ++bytes[offsetof(SnapshotHeader, version)];
  EXPECT_THAT(ParseSnapshot(bytes, "boot"), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("version 2")));
}

CoreState StateWithId(std::uint64_t state_id) {
  CoreState state;
  state.state_id = state_id;
  return state;
}

class StateFileTest : public ::testing::Test {
 protected:
  StateFileTest() : file_(*StateFile::Open(dir_.path())) {}

  TempDir dir_;
  StateFile file_;
};

TEST_F(StateFileTest, IsPrivateAndReplacedAsAWhole) {
  EXPECT_THAT(file_.Load(), StatusIs(StatusCode::kNotFound));
  ASSERT_THAT(file_.Save(FullState()), IsOk());
  ASSERT_THAT(file_.Save(StateWithId(5)), IsOk());

  struct stat info = {};
  ASSERT_EQ(::stat(file_.path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  A8A_ASSERT_OK_AND_ASSIGN(const CoreState state, file_.Load());
  EXPECT_EQ(state.state_id, 5U);
  file_.Remove();
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path()));
}

TEST_F(StateFileTest, ASaveThatFailsLeavesWhatWasThere) {
  ASSERT_THAT(file_.Save(StateWithId(5)), IsOk());
  std::filesystem::create_directory(file_.path() + ".new");

  EXPECT_THAT(file_.Save(StateWithId(6)), ::testing::Not(IsOk()));
  A8A_ASSERT_OK_AND_ASSIGN(const CoreState state, file_.Load());
  EXPECT_EQ(state.state_id, 5U);
}

TEST_F(StateFileTest, WhatCannotBeUsedIsMovedAside) {
  std::ofstream(file_.path()) << "no snapshot";
  EXPECT_THAT(file_.Load(), StatusIs(StatusCode::kInvalidArgument));
  file_.Quarantine();

  EXPECT_THAT(file_.Load(), StatusIs(StatusCode::kNotFound));
  std::ifstream refused(file_.quarantine_path());
  EXPECT_EQ(std::string((std::istreambuf_iterator<char>(refused)), {}), "no snapshot");
}

TEST_F(StateFileTest, AFileThatOthersCanWriteIsRefused) {
  ASSERT_THAT(file_.Save(StateWithId(5)), IsOk());
  ASSERT_EQ(::chmod(file_.path().c_str(), 0660), 0);
  EXPECT_THAT(file_.Load(), StatusIs(StatusCode::kFailedPrecondition, HasSubstr("writable by nobody else")));
}

TEST_F(StateFileTest, AFifoOrALinkInItsPlaceIsRefused) {
  ASSERT_EQ(::mkfifo(file_.path().c_str(), 0600), 0);
  EXPECT_THAT(file_.Load(), StatusIs(StatusCode::kFailedPrecondition));
  ::unlink(file_.path().c_str());
  ASSERT_EQ(::symlink("/etc/passwd", file_.path().c_str()), 0);
  EXPECT_THAT(file_.Load(), StatusIs(StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace a8a::daemon
