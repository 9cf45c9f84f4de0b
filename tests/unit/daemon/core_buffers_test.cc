#include <sys/mman.h>
#include <sys/stat.h>

#include <thread>

#include "kernels/include/limits.h"
#include "tests/unit/daemon/core_fixture.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class CoreBuffersTest : public CoreFixture {
 protected:
  absl::StatusOr<LeaseGrant> Lease(const Attached& session, std::int64_t size_bytes, const std::string& name = "b") {
    return core_->RegisterBuffer(session.caller, session.id, "host", size_bytes, name);
  }
  absl::StatusOr<Core::Redeemed> Redeem(const Attached& session, const TicketGrant& ticket) {
    return core_->RedeemTicket(session.caller.identity, session.id, ticket.value);
  }
};

TEST_F(CoreBuffersTest, BadRequestsNameFieldValueAndLimit) {
  const Attached session = Attach(1);
  EXPECT_THAT(Lease(session, 0), StatusIs(StatusCode::kInvalidArgument, HasSubstr("size_bytes is 0")));
  EXPECT_THAT(Lease(session, -5), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(Lease(session, kMaxBufferBytes + 1),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("1125899906842624")));
  EXPECT_THAT(Lease(session, 1, std::string(65, 'n')), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(core_->RegisterBuffer(session.caller, session.id, "", 1, ""), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(core_->RegisterBuffer(session.caller, session.id, "cuda:7", 1, ""),
              StatusIs(StatusCode::kNotFound, HasSubstr("there are: host, cuda:0")));
  EXPECT_THAT(core_->RegisterBuffer(session.caller, 99, "host", 1, ""), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->RegisterBuffer(Process(2), session.id, "host", 1, ""), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_EQ(LeasedBytes(), 0);
}

TEST_F(CoreBuffersTest, SizesAreRoundedUpAndCountedToTheByte) {
  const Attached session = Attach(1);

  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant first, Lease(session, 1));
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant second, Lease(session, kGranularity + 1));

  EXPECT_EQ(first.buffer.size_bytes, kGranularity);
  EXPECT_EQ(second.buffer.size_bytes, 2 * kGranularity);
  EXPECT_EQ(SessionBytes(session), 3 * kGranularity);
  EXPECT_EQ(script_->live_bytes(), 3 * kGranularity);
  EXPECT_THAT(core_->ReleaseBuffer(session.caller, session.id, second.buffer.buffer_id, second.buffer.generation),
              IsOk());
  EXPECT_EQ(SessionBytes(session), kGranularity);
  EXPECT_EQ(Everything().sessions[0].leased_bytes_peak, 3 * kGranularity);
  EXPECT_EQ(Everything().devices[0].lease_count, 1);
}

TEST_F(CoreBuffersTest, ThePoolLimitIsExact) {
  const Attached session = Attach(1);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant most, Lease(session, kPoolLimit - kGranularity));

  EXPECT_THAT(Lease(session, kGranularity + 1),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("8192 bytes asked of device host, 4096 bytes left")));
  EXPECT_THAT(Lease(session, kGranularity), IsOk());
  EXPECT_THAT(core_->ReleaseBuffer(session.caller, session.id, most.buffer.buffer_id, most.buffer.generation), IsOk());
  EXPECT_THAT(Lease(session, kPoolLimit - kGranularity), IsOk());
}

TEST_F(CoreBuffersTest, TheBufferTableIsBounded) {
  MakeCore({.buffer_max = 1});
  const Attached session = Attach(1);
  EXPECT_THAT(Lease(session, 1), IsOk());

  EXPECT_THAT(Lease(session, 1), StatusIs(StatusCode::kResourceExhausted, HasSubstr("1 buffers")));
}

TEST_F(CoreBuffersTest, AFailedAllocationLeavesNothing) {
  const Attached session = Attach(1);
  script_->FailAllocations(1, absl::ResourceExhaustedError("no pages"));

  EXPECT_THAT(Lease(session, 1), StatusIs(StatusCode::kResourceExhausted, "no pages"));

  EXPECT_EQ(LeasedBytes(), 0);
  EXPECT_EQ(SessionBytes(session), 0);
  EXPECT_THAT(Lease(session, 1), IsOk());
}

TEST_F(CoreBuffersTest, ASessionThatEndsDuringItsAllocationGetsNothingAndLeaksNothing) {
  const Attached session = Attach(1);
  script_->OnAllocate([&] { core_->ProcessEnded(session.id); });

  EXPECT_THAT(Lease(session, 1), StatusIs(StatusCode::kNotFound));

  script_->OnAllocate(nullptr);
  EXPECT_EQ(LeasedBytes(), 0);
  EXPECT_EQ(script_->live_count(), 0);
}

TEST_F(CoreBuffersTest, OnlyItsSessionReleasesABufferAndOnlyTheRightLease) {
  const Attached owner = Attach(1);
  const Attached other = Attach(2);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease, Lease(owner, 1));
  const std::uint64_t id = lease.buffer.buffer_id;
  const std::uint64_t generation = lease.buffer.generation;

  EXPECT_THAT(core_->ReleaseBuffer(other.caller, other.id, id, generation), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->ReleaseBuffer(other.caller, owner.id, id, generation), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->ReleaseBuffer(owner.caller, owner.id, id, generation + 1), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->ReleaseBuffer(owner.caller, owner.id, id + 1, generation), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->ReleaseBuffer(owner.caller, 99, id, generation), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->ReleaseBuffer(owner.caller, owner.id, id, generation), IsOk());
  EXPECT_THAT(core_->ReleaseBuffer(owner.caller, owner.id, id, generation), StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreBuffersTest, ATicketGivesTheDescriptorOnce) {
  const Attached session = Attach(1);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease, Lease(session, 1));

  A8A_ASSERT_OK_AND_ASSIGN(const Core::Redeemed redeemed, Redeem(session, lease.ticket));

  struct stat file = {};
  ASSERT_EQ(fstat(redeemed.fd.get(), &file), 0);
  EXPECT_EQ(file.st_size, kGranularity);
  EXPECT_EQ(redeemed.size_bytes, kGranularity);
  EXPECT_THAT(Redeem(session, lease.ticket), StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreBuffersTest, ATicketIsWorthNothingToOthersAndStaysGood) {
  const Attached owner = Attach(1);
  const Attached other = Attach(2);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease, Lease(owner, 1));

  EXPECT_THAT(Redeem(other, lease.ticket), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->RedeemTicket(other.caller.identity, owner.id, lease.ticket.value),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(Redeem(owner, lease.ticket), IsOk());
}

TEST_F(CoreBuffersTest, ATicketExpires) {
  MakeCore({.ticket_lifetime = absl::Seconds(10)});
  const Attached session = Attach(1);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant early, Lease(session, 1));
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant late, Lease(session, 1));

  clock_.Advance(absl::Seconds(10) - absl::Nanoseconds(1));
  EXPECT_THAT(Redeem(session, early.ticket), IsOk());
  clock_.Advance(absl::Nanoseconds(1));

  EXPECT_THAT(Redeem(session, late.ticket), StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreBuffersTest, UnknownAndMalformedTicketsAreNotFound) {
  const Attached session = Attach(1);
  const std::vector<std::uint8_t> made_up(16, 7);
  const std::vector<std::uint8_t> too_short(15, 7);

  EXPECT_THAT(core_->RedeemTicket(session.caller.identity, session.id, made_up), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->RedeemTicket(session.caller.identity, session.id, too_short), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(core_->RedeemTicket(session.caller.identity, 99, made_up), StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreBuffersTest, ATicketDiesWithItsLease) {
  const Attached session = Attach(1);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease, Lease(session, 1));
  EXPECT_THAT(core_->ReleaseBuffer(session.caller, session.id, lease.buffer.buffer_id, lease.buffer.generation),
              IsOk());

  EXPECT_THAT(Redeem(session, lease.ticket), StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreBuffersTest, OutstandingTicketsAreBoundedUntilTheyExpire) {
  MakeCore({.ticket_max_per_session = 2, .ticket_lifetime = absl::Seconds(1)});
  const Attached session = Attach(1);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease, Lease(session, 1));
  EXPECT_THAT(core_->IssueTicket(session.caller, session.id, lease.buffer.buffer_id), IsOk());

  EXPECT_THAT(core_->IssueTicket(session.caller, session.id, lease.buffer.buffer_id),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("2 outstanding tickets")));
  EXPECT_THAT(Lease(session, 1), StatusIs(StatusCode::kResourceExhausted));
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(core_->IssueTicket(session.caller, session.id, lease.buffer.buffer_id), IsOk());
}

TEST_F(CoreBuffersTest, OnlyWhoHasARightSeesABuffer) {
  const Attached owner = Attach(1);
  const Attached other = Attach(2);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease, Lease(owner, 1, "mine"));
  const std::uint64_t id = lease.buffer.buffer_id;

  A8A_ASSERT_OK_AND_ASSIGN(const BufferInfo info, core_->GetBuffer(owner.caller, owner.id, id));
  EXPECT_EQ(info.name, "mine");
  EXPECT_THAT(core_->GetBuffer(other.caller, other.id, id), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->IssueTicket(other.caller, other.id, id), StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(core_->GetBuffer(owner.caller, owner.id, id + 1), StatusIs(StatusCode::kNotFound));
}

TEST_F(CoreBuffersTest, ListsAreByUidAndPaged) {
  const Attached session = Attach(1, 1000);
  const Attached stranger = Attach(2, 2000);
  std::vector<std::uint64_t> ids;
  for (int i = 0; i < 3; ++i) {
    A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease, Lease(session, 1));
    ids.push_back(lease.buffer.buffer_id);
  }
  EXPECT_THAT(Lease(stranger, 1), IsOk());

  A8A_ASSERT_OK_AND_ASSIGN(const auto first, core_->ListBuffers(session.caller, 0, 2));
  A8A_ASSERT_OK_AND_ASSIGN(const auto rest, core_->ListBuffers(session.caller, first.back().buffer_id, 2));
  A8A_ASSERT_OK_AND_ASSIGN(const auto all, core_->ListBuffers(Administrator(), 0, 0));

  EXPECT_THAT(first, SizeIs(2));
  ASSERT_THAT(rest, SizeIs(1));
  EXPECT_EQ(rest[0].buffer_id, ids[2]);
  EXPECT_THAT(all, SizeIs(4));
  EXPECT_THAT(core_->ListBuffers(session.caller, 0, -1), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(core_->ListBuffers(session.caller, 0, 1001), StatusIs(StatusCode::kInvalidArgument, HasSubstr("1001")));
}

TEST_F(CoreBuffersTest, RevokeTellsTheOwner) {
  const Attached session = Attach(1);
  A8A_ASSERT_OK_AND_ASSIGN(const LeaseGrant lease, Lease(session, 1));
  EXPECT_THAT(core_->RevokeBuffer(Administrator(), 99), StatusIs(StatusCode::kNotFound));

  EXPECT_THAT(core_->RevokeBuffer(Administrator(), lease.buffer.buffer_id), IsOk());

  ASSERT_THAT(session.sink->Events<BufferRevokedEvent>(), SizeIs(1));
  EXPECT_EQ(session.sink->Events<BufferRevokedEvent>()[0].generation, lease.buffer.generation);
  EXPECT_EQ(LeasedBytes(), 0);
}

}  // namespace
}  // namespace a8a::daemon
