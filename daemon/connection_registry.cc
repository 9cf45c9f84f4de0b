#include "daemon/connection_registry.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "daemon/failpoint.h"

namespace a8a::daemon {
namespace {

// The inode of an open socket. All sockets lie on one file system, so that it identifies the socket.
std::optional<ino_t> SocketInode(int number) {
  struct stat status = {};
  if (A8A_FAILPOINT("connection_registry.fstat", ::fstat(number, &status)) != 0) return std::nullopt;
  if (!S_ISSOCK(status.st_mode)) return std::nullopt;
  return status.st_ino;
}

// Whether the socket is closed. One that cannot be looked at stays: its connection would lose its identity for good.
bool IsClosed(int number, ino_t inode) {
  struct stat status = {};
  if (A8A_FAILPOINT("connection_registry.fstat_again", ::fstat(number, &status)) != 0) return errno == EBADF;
  return !S_ISSOCK(status.st_mode) || status.st_ino != inode;
}

}  // namespace

absl::Status ConnectionRegistry::Add(int number, std::shared_ptr<const Connection> connection) {
  const std::optional<ino_t> inode = SocketInode(number);
  if (!inode.has_value()) return absl::InternalError(absl::StrCat("descriptor ", number, " is no open socket"));
  UidCounter::Hold count = counts_.Take(connection->peer.identity.uid, 1);
  const MutexLock lock(&mutex_);
  entries_[number] = {.connection = std::move(connection), .inode = *inode, .count = std::move(count)};
  return absl::OkStatus();
}

std::optional<int> ConnectionRegistry::NumberOf(absl::string_view peer) {
  int number = 0;
  if (absl::ConsumePrefix(&peer, "fd:") && absl::SimpleAtoi(peer, &number)) return number;
  return std::nullopt;
}

void ConnectionRegistry::Shutdown(absl::string_view peer) const {
  const std::optional<int> number = NumberOf(peer);
  if (!number.has_value()) return;
  // Under the lock, so that no newcomer has the number by now.
  const MutexLock lock(&mutex_);
  const auto entry = entries_.find(*number);
  if (entry == entries_.end() || SocketInode(*number) != entry->second.inode) return;
  // Fails where the peer was faster.
  static_cast<void>(A8A_FAILPOINT("connection_registry.shutdown", ::shutdown(*number, SHUT_RDWR)));
}

absl::StatusOr<std::shared_ptr<const Connection>> ConnectionRegistry::Find(absl::string_view peer) const {
  if (const std::optional<int> number = NumberOf(peer); number.has_value()) {
    const MutexLock lock(&mutex_);
    if (const auto entry = entries_.find(*number); entry != entries_.end()) return entry->second.connection;
  }
  return absl::InternalError(absl::StrCat("peer \"", peer, "\" is no connection that the daemon accepted"));
}

void ConnectionRegistry::Sweep() {
  std::vector<std::pair<int, ino_t>> sockets;
  {
    const MutexLock lock(&mutex_);
    for (const auto& [number, entry] : entries_) sockets.emplace_back(number, entry.inode);
  }
  // Without the lock, which every call takes.
  std::erase_if(sockets, [](const auto& socket) { return !IsClosed(socket.first, socket.second); });
  const MutexLock lock(&mutex_);
  for (const auto& [number, inode] : sockets) {
    const auto entry = entries_.find(number);
    // The number may be another connection's by now.
    if (entry != entries_.end() && entry->second.inode == inode) entries_.erase(entry);
  }
}

int ConnectionRegistry::CountOfUid(std::uint32_t uid) const { return counts_.Count(uid); }

int ConnectionRegistry::Count() const {
  const MutexLock lock(&mutex_);
  return static_cast<int>(entries_.size());
}

}  // namespace a8a::daemon
