#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/connection_registry.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {
namespace {

std::shared_ptr<const Connection> ConnectionOf(std::uint32_t uid) {
  auto connection = std::make_shared<Connection>();
  connection->peer.identity.uid = uid;
  return connection;
}

UniqueFd Socket() { return UniqueFd(::socket(AF_UNIX, SOCK_STREAM, 0)); }

std::string PeerName(const UniqueFd& socket) { return absl::StrCat("fd:", socket.get()); }

TEST(ConnectionRegistryTest, FindsTheConnectionThatAPeerNames) {
  ConnectionRegistry registry;
  const UniqueFd socket = Socket();
  ASSERT_TRUE(registry.Add(socket.get(), ConnectionOf(7)).ok());

  const auto found = registry.Find(PeerName(socket));

  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ((*found)->peer.identity.uid, 7U);
}

TEST(ConnectionRegistryTest, UnknownPeersAreInternalErrors) {
  const ConnectionRegistry registry;

  for (const char* peer : {"", "fd:", "fd:3", "fd:x", "fd:99999999999", "unix:/x", "ipv4:127.0.0.1:1"}) {
    EXPECT_EQ(registry.Find(peer).status().code(), absl::StatusCode::kInternal) << peer;
  }
}

TEST(ConnectionRegistryTest, ClosedConnectionsAreForgotten) {
  ConnectionRegistry registry;
  UniqueFd closed = Socket();
  const UniqueFd open = Socket();
  const std::string closed_name = PeerName(closed);
  ASSERT_TRUE(registry.Add(closed.get(), ConnectionOf(7)).ok());
  ASSERT_TRUE(registry.Add(open.get(), ConnectionOf(7)).ok());
  closed.Reset();

  registry.Sweep();

  EXPECT_EQ(registry.CountOfUid(7), 1);
  EXPECT_FALSE(registry.Find(closed_name).ok());
  EXPECT_TRUE(registry.Find(PeerName(open)).ok());
}

TEST(ConnectionRegistryTest, ANumberThatNamesAnotherSocketByNowCountsAsClosed) {
  ConnectionRegistry registry;
  UniqueFd socket = Socket();
  const int number = socket.get();
  ASSERT_TRUE(registry.Add(number, ConnectionOf(7)).ok());
  const UniqueFd other = Socket();
  ASSERT_EQ(::dup2(other.get(), number), number);

  registry.Sweep();

  EXPECT_EQ(registry.Count(), 0);
}

TEST(ConnectionRegistryTest, ShutdownEndsTheConnectionThatAPeerNamesOnly) {
  ConnectionRegistry registry;
  std::array<int, 2> ends = {};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  const UniqueFd own(ends[0]);
  const UniqueFd others(ends[1]);
  ASSERT_TRUE(registry.Add(own.get(), ConnectionOf(7)).ok());
  char byte = 0;

  registry.Shutdown("fd:x");
  registry.Shutdown(PeerName(others));
  EXPECT_EQ(::recv(others.get(), &byte, 1, MSG_DONTWAIT), -1) << "still open";
  registry.Shutdown(PeerName(own));

  EXPECT_EQ(::recv(others.get(), &byte, 1, MSG_DONTWAIT), 0) << "end of file";
}

TEST(ConnectionRegistryTest, CountsByUid) {
  ConnectionRegistry registry;
  const UniqueFd first = Socket();
  const UniqueFd second = Socket();
  const UniqueFd third = Socket();
  ASSERT_TRUE(registry.Add(first.get(), ConnectionOf(1)).ok());
  ASSERT_TRUE(registry.Add(second.get(), ConnectionOf(2)).ok());
  ASSERT_TRUE(registry.Add(third.get(), ConnectionOf(2)).ok());

  EXPECT_EQ(registry.CountOfUid(1), 1);
  EXPECT_EQ(registry.CountOfUid(2), 2);
  EXPECT_EQ(registry.CountOfUid(3), 0);
  EXPECT_EQ(registry.Count(), 3);
}

TEST(ConnectionRegistryTest, WhatIsNoOpenSocketIsRefused) {
  ConnectionRegistry registry;

  EXPECT_EQ(registry.Add(-1, ConnectionOf(1)).code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace a8a::daemon
