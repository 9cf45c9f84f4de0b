#include "daemon/connection_registry.h"

#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace a8a::daemon {
namespace {

// The inode of an open socket. All sockets lie on one file system, so that it identifies the socket.
std::optional<ino_t> SocketInode(int number) {
  struct stat status = {};
  if (::fstat(number, &status) != 0 || !S_ISSOCK(status.st_mode)) return std::nullopt;
  return status.st_ino;
}

}  // namespace

absl::Status ConnectionRegistry::Add(int number, std::shared_ptr<const Connection> connection) {
  const std::optional<ino_t> inode = SocketInode(number);
  if (!inode.has_value()) return absl::InternalError(absl::StrCat("descriptor ", number, " is no open socket"));
  const MutexLock lock(&mutex_);
  entries_[number] = {.connection = std::move(connection), .inode = *inode};
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Connection>> ConnectionRegistry::Find(absl::string_view peer) const {
  int number = 0;
  absl::string_view digits = peer;
  if (absl::ConsumePrefix(&digits, "fd:") && absl::SimpleAtoi(digits, &number)) {
    const MutexLock lock(&mutex_);
    if (const auto entry = entries_.find(number); entry != entries_.end()) return entry->second.connection;
  }
  return absl::InternalError(absl::StrCat("peer \"", peer, "\" is no connection that the daemon accepted"));
}

void ConnectionRegistry::Sweep() {
  const MutexLock lock(&mutex_);
  std::erase_if(entries_, [](const auto& entry) { return SocketInode(entry.first) != entry.second.inode; });
}

int ConnectionRegistry::CountOfUid(std::uint32_t uid) const {
  const MutexLock lock(&mutex_);
  return static_cast<int>(std::count_if(entries_.begin(), entries_.end(), [uid](const auto& entry) {
    return entry.second.connection->identity.uid == uid;
  }));
}

int ConnectionRegistry::Count() const {
  const MutexLock lock(&mutex_);
  return static_cast<int>(entries_.size());
}

}  // namespace a8a::daemon
