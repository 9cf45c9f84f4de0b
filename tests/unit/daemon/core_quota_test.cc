// What one uid may hold: each limit, by the core's public calls, and that it comes free again.
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

constexpr std::uint32_t kUid = 1000;
constexpr std::uint32_t kOther = 2000;

class CoreQuotaTest : public CoreFixture {
 protected:
  void SetUp() override {
    CoreOptions options;
    options.policy = [this] { return CorePolicy{.uid_limits = limits_}; };
    options.connection_descriptors = [this](std::uint32_t uid) { return uid == kUid ? connection_descriptors_ : 0; };
    MakeCore(options);
  }
  absl::StatusOr<LeaseGrant> Lease(const Attached& session, std::int64_t size_bytes = kGranularity,
                                   const std::string& device = "host") {
    return core_->RegisterBuffer(session.caller, session.id, device, size_bytes, "b");
  }
  // The next call of kUid is refused with `text`, while the other uid's succeeds.
  template <typename Call>
  void ExpectRefused(const std::string& text, const Call& call) {
    EXPECT_THAT(call(kUid), StatusIs(StatusCode::kResourceExhausted, HasSubstr(text)));
    EXPECT_THAT(call(kOther), IsOk());
  }

  UidLimits limits_;
  int connection_descriptors_ = 0;
};

TEST_F(CoreQuotaTest, Sessions) {
  limits_.session_max = 2;
  const Attached first = Attach(1, kUid);
  Attach(2, kUid);

  ExpectRefused("uid 1000 has 2 sessions; its limit is 2 (session_max_per_uid)",
                [&](std::uint32_t uid) { return core_->Attach(Process(3, uid), "test", nullptr).status(); });

  const CoreSnapshot snapshot = core_->Snapshot(Administrator(), /*group_id=*/0);
  EXPECT_GT(snapshot.counters.refusals_total[static_cast<std::size_t>(Limit::kSessionsOfUid)], 0U);
  EXPECT_EQ(snapshot.counters.refusals_total[static_cast<std::size_t>(Limit::kSessions)], 0U);

  EXPECT_THAT(core_->Detach(first.caller, first.id), IsOk());
  EXPECT_THAT(core_->Attach(Process(3, kUid), "test", nullptr), IsOk());
}

TEST_F(CoreQuotaTest, BuffersOnAllDevicesTogether) {
  limits_.buffer_max = 2;
  const Attached session = Attach(1, kUid);
  const Attached other = Attach(2, kOther);
  const auto first = Lease(session);
  ASSERT_THAT(Lease(session, 1, "cuda:0"), IsOk());

  ExpectRefused("uid 1000 has 2 buffers; its limit is 2 (buffer_max_per_uid)",
                [&](std::uint32_t uid) { return Lease(uid == kUid ? session : other).status(); });

  EXPECT_THAT(core_->ReleaseBuffer(session.caller, session.id, first->buffer.buffer_id, first->buffer.generation),
              IsOk());
  EXPECT_THAT(Lease(session), IsOk());
}

TEST_F(CoreQuotaTest, BytesOfEachDeviceAsTheDeviceSpendsThem) {
  limits_.device_bytes_max = 4 * kGranularity - 1;
  const Attached session = Attach(1, kUid);
  const Attached other = Attach(2, kOther);
  ASSERT_THAT(Lease(session, 2 * kGranularity - 1), IsOk());

  ExpectRefused("uid 1000 has 8192 bytes of device host and wants 8192 more; its limit is 16383 (bytes_max_per_uid)",
                [&](std::uint32_t uid) { return Lease(uid == kUid ? session : other, kGranularity + 1).status(); });

  EXPECT_THAT(Lease(session, kGranularity), IsOk()) << "the last of it";
  EXPECT_THAT(Lease(session, 3 * kGranularity, "cuda:0"), IsOk()) << "another device";
  core_->ProcessEnded(session.id);
  EXPECT_THAT(Lease(Attach(3, kUid), 3 * kGranularity), IsOk()) << "all is free again";
}

TEST_F(CoreQuotaTest, AFailedAllocationCountsNoMore) {
  limits_.buffer_max = 1;
  const Attached session = Attach(1, kUid);
  script_->FailAllocations(1, absl::InternalError("broken"));

  EXPECT_THAT(Lease(session), StatusIs(StatusCode::kInternal));

  EXPECT_THAT(Lease(session), IsOk());
}

TEST_F(CoreQuotaTest, Groups) {
  limits_.group_max = 1;
  const Attached session = Attach(1, kUid);
  const Attached other = Attach(2, kOther);
  const std::uint64_t group_id = FormGroup({session}, "first");

  ExpectRefused("uid 1000 has 1 groups; its limit is 1 (group_max_per_uid)", [&](std::uint32_t uid) {
    return Join(uid == kUid ? session : other, RankOf(0, 1, "second")).status();
  });

  EXPECT_THAT(core_->LeaveGroup(session.caller, session.id, group_id), IsOk());
  EXPECT_THAT(Join(session, RankOf(0, 1, "second")).status(), IsOk());
}

TEST_F(CoreQuotaTest, WindowsOfAllGroupsTogether) {
  limits_.window_max = 2;
  const Attached session = Attach(1, kUid);
  const Attached other = Attach(2, kOther);
  const std::uint64_t first = FormGroup({session}, "first");
  const std::uint64_t second = FormGroup({session}, "second");
  const std::uint64_t others = FormGroup({other}, "first");
  FormWindow({session}, first, "w", 1);
  const int index = FormWindow({session}, second, "w", 1);

  ExpectRefused("uid 1000 has 2 windows; its limit is 2 (window_max_per_uid)", [&](std::uint32_t uid) {
    return uid == kUid ? Register(session, first, "x", 1).status() : Register(other, others, "x", 1).status();
  });

  EXPECT_THAT(core_->ReleaseWindow(session.caller, session.id, second, index), IsOk());
  EXPECT_THAT(Register(session, first, "x", 1).status(), IsOk());
}

TEST_F(CoreQuotaTest, AWindowThatOthersHaveBegunIsNoNewOne) {
  limits_.window_max = 1;
  const Attached first = Attach(1, kUid);
  const Attached second = Attach(2, kUid);
  const std::uint64_t group_id = FormGroup({first, second});

  EXPECT_EQ(FormWindow({first, second}, group_id, "w", 1), 0);
}

TEST_F(CoreQuotaTest, AWindowAboveTheLimitOfBytesIsGivenToNoRank) {
  const Attached first = Attach(1, kUid);
  const Attached second = Attach(2, kUid);
  const std::uint64_t group_id = FormGroup({first, second});
  const std::int64_t held = LeasedBytes();
  limits_.device_bytes_max = held + kGranularity;
  const auto waiting = Register(first, group_id, "w", 1);

  EXPECT_THAT(Register(second, group_id, "w", 1).status(), StatusIs(StatusCode::kResourceExhausted));

  EXPECT_THAT(waiting.status(), StatusIs(StatusCode::kResourceExhausted, HasSubstr("bytes_max_per_uid")));
  EXPECT_EQ(LeasedBytes(), held);
}

TEST_F(CoreQuotaTest, DescriptorsOfSessionsGroupsLeasesAndConnections) {
  limits_.descriptor_max = 10;
  connection_descriptors_ = 6;
  const Attached session = Attach(1, kUid);  // 7
  const Attached other = Attach(2, kOther);
  FormGroup({session});  // 9, with the control segment and the flags of its rank
  ASSERT_THAT(core_->CheckDescriptors(kUid, 1), IsOk());
  ASSERT_THAT(Lease(session), IsOk());  // 10

  const std::string text = "uid 1000 has 10 of the daemon's descriptors and needs 1 more; its limit is 10";
  ExpectRefused(text, [&](std::uint32_t uid) { return Lease(uid == kUid ? session : other).status(); });
  ExpectRefused(text, [&](std::uint32_t uid) { return core_->Attach(Process(3, uid), "test", nullptr).status(); });
  ExpectRefused(
      text, [&](std::uint32_t uid) { return Join(uid == kUid ? session : other, RankOf(0, 1, "another")).status(); });
  ExpectRefused(text, [&](std::uint32_t uid) { return core_->CheckDescriptors(uid, 1); });

  connection_descriptors_ = 5;
  EXPECT_THAT(Lease(session), IsOk());
}

}  // namespace
}  // namespace a8a::daemon
