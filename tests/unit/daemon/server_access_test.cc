// Who may connect and administrate, and how many requests a uid may make.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "daemon/access.h"
#include "daemon/request_quota.h"
#include "daemon/uid_counter.h"

namespace a8a::daemon {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Peer PeerOf(uid_t uid, gid_t gid, std::vector<gid_t> groups = {}) {
  return {.identity = {.uid = uid, .gid = gid, .pid = 1}, .groups = std::move(groups)};
}

bool MayConnect(const Peer& peer, const Options& options) { return CheckMayConnect(peer, options).ok(); }

TEST(AccessTest, WithoutAListTheSocketsModeHasDecided) { EXPECT_TRUE(MayConnect(PeerOf(7, 8), Options())); }

TEST(AccessTest, AUidOrAnyOfItsGroupsMayBeListed) {
  Options options;
  options.allowed_uids = {7};
  options.allowed_gids = {80};

  EXPECT_TRUE(MayConnect(PeerOf(7, 1), options));
  EXPECT_TRUE(MayConnect(PeerOf(6, 80), options));
  EXPECT_TRUE(MayConnect(PeerOf(6, 1, {79, 80}), options));
  EXPECT_FALSE(MayConnect(PeerOf(80, 7, {7}), options)) << "uids are no gids";
  EXPECT_THAT(std::string(CheckMayConnect(PeerOf(6, 5, {4}), options).message()),
              AllOf(HasSubstr("uid 6"), HasSubstr("gid 5"), HasSubstr("allowed_uids"), HasSubstr("allowed_gids")));
}

TEST(AccessTest, RootTheDaemonAndAdministratorsAreNeverKeptOut) {
  Options options;
  options.allowed_uids = {7};
  options.admin_uids = {9};
  options.admin_gids = {90};

  for (const Peer& peer : {PeerOf(0, 0), PeerOf(::geteuid(), 1), PeerOf(9, 1), PeerOf(5, 90), PeerOf(5, 1, {90})}) {
    EXPECT_TRUE(MayConnect(peer, options)) << peer.identity.uid;
    EXPECT_TRUE(IsAdministrator(peer, options)) << peer.identity.uid;
  }
  EXPECT_FALSE(IsAdministrator(PeerOf(7, 9), options));
}

TEST(RequestQuotaTest, SomeAtOnceThenOnesTurnThenNothing) {
  RequestQuota quota;
  const absl::Time now = absl::UnixEpoch() + absl::Hours(1);
  const auto take = [&] { return quota.Take(7, /*rate_max=*/100, now); };

  // 100 ms are free, and 500 ms may wait.
  for (int i = 0; i < 11; ++i) EXPECT_EQ(take().value_or(absl::Hours(1)), absl::ZeroDuration()) << i;
  EXPECT_EQ(take().value_or(absl::Hours(1)), absl::Milliseconds(10));
  for (int i = 0; i < 49; ++i) EXPECT_TRUE(take().ok()) << i;

  EXPECT_EQ(take().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(take().status().message()),
              AllOf(HasSubstr("uid 7"), HasSubstr("100 requests a second"), HasSubstr("request_rate_max_per_uid"),
                    HasSubstr("510 ms")));
  EXPECT_EQ(quota.Take(8, 100, now).value_or(absl::Hours(1)), absl::ZeroDuration()) << "another uid";
  EXPECT_TRUE(quota.Take(7, 100, now + absl::Milliseconds(10)).ok()) << "one has had its turn";
}

TEST(RequestQuotaTest, AClockThatIsSetBackKeepsNobodyOut) {
  RequestQuota quota;
  ASSERT_TRUE(quota.Take(7, 100, absl::UnixEpoch() + absl::Hours(2)).ok());

  EXPECT_TRUE(quota.Take(7, 100, absl::UnixEpoch()).ok());
}

TEST(RequestQuotaTest, UidsThatDoNotCallAreForgotten) {
  RequestQuota quota;
  for (std::uint32_t uid = 0; uid < 1024; ++uid) ASSERT_TRUE(quota.Take(uid, 100, absl::UnixEpoch()).ok());

  ASSERT_TRUE(quota.Take(5000, 100, absl::UnixEpoch() + absl::Seconds(1)).ok());

  EXPECT_EQ(quota.uid_count(), 1);
}

TEST(UidCounterTest, CountsUntilTheHoldIsGone) {
  UidCounter counter;
  UidCounter::Hold two = counter.Take(7, 2);
  const UidCounter::Hold one = counter.Take(7, 1);

  EXPECT_EQ(counter.Count(7), 3);
  EXPECT_EQ(counter.Count(8), 0);
  two = nullptr;
  EXPECT_EQ(counter.Count(7), 1);
}

}  // namespace
}  // namespace a8a::daemon
