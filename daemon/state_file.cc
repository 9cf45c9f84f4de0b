#include "daemon/state_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/failpoint.h"
#include "daemon/snapshot.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {
namespace {

constexpr char kBootIdPath[] = "/proc/sys/kernel/random/boot_id";
constexpr mode_t kMode = 0600;
// What a node's usual state takes, so that its file system has room for that.
constexpr std::size_t kProbeBytes = 64 * 1024;
// A million leases, the most that buffer_max allows, take some 150 MiB.
constexpr off_t kBytesMax = off_t{512} << 20;

absl::Status CheckFile(int fd, const std::string& path, std::size_t* size_bytes) {
  struct stat info = {};
  if (A8A_FAILPOINT("state_file.fstat", ::fstat(fd, &info)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot look at ", path));
  }
  if (!S_ISREG(info.st_mode)) return absl::FailedPreconditionError(absl::StrCat(path, " is not a regular file"));
  if (info.st_uid != ::geteuid() || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(path, " belongs to uid ", info.st_uid, " with mode ",
                                                      absl::Hex(info.st_mode & 0777), " (hex); it must be uid ",
                                                      ::geteuid(), "'s, and writable by nobody else"));
  }
  if (info.st_size > kBytesMax) {
    return absl::FailedPreconditionError(absl::StrCat(path, " has ", info.st_size, " bytes; at most ", kBytesMax));
  }
  *size_bytes = static_cast<std::size_t>(info.st_size);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(int fd, const std::string& path, std::size_t size_bytes) {
  std::string bytes(size_bytes, '\0');
  std::size_t have = 0;
  while (have < size_bytes) {
    const ssize_t count = A8A_FAILPOINT("state_file.read", ::read(fd, bytes.data() + have, size_bytes - have));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
    if (count == 0) break;
    have += static_cast<std::size_t>(count);
  }
  bytes.resize(have);
  return bytes;
}

absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = A8A_FAILPOINT("state_file.write", ::write(fd, bytes.data(), bytes.size()));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status WriteFile(absl::string_view bytes, const std::string& path) {
  const UniqueFd fd(A8A_FAILPOINT("state_file.create",
                                  ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kMode)));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
  return WriteAll(fd.get(), bytes, path);
}

}  // namespace

absl::StatusOr<StateFile> StateFile::Open(const std::string& directory) {
  std::string boot_id;
  if (!(std::ifstream(kBootIdPath) >> boot_id)) return absl::InternalError(absl::StrCat("cannot read ", kBootIdPath));
  return StateFile(absl::StrCat(directory, "/state"), std::move(boot_id));
}

absl::StatusOr<CoreState> StateFile::Load() const {
  // Not blocking: a FIFO in its place must not hold up the start.
  const UniqueFd fd(
      A8A_FAILPOINT("state_file.open", ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)));
  if (!fd.valid() && errno == ENOENT) return absl::NotFoundError(absl::StrCat("no ", path_));
  if (!fd.valid()) return absl::FailedPreconditionError(absl::ErrnoToStatus(errno, path_).message());
  std::size_t size_bytes = 0;
  A8A_RETURN_IF_ERROR(CheckFile(fd.get(), path_, &size_bytes));
  A8A_ASSIGN_OR_RETURN(const std::string bytes, ReadAll(fd.get(), path_, size_bytes));
  return ParseSnapshot(bytes, boot_id_);
}

void StateFile::Quarantine() const {
  static_cast<void>(A8A_FAILPOINT("state_file.quarantine", std::rename(path_.c_str(), quarantine_path().c_str())));
}

absl::Status StateFile::Save(const CoreState& state) const {
  const std::string new_path = absl::StrCat(path_, ".new");
  absl::Status status = WriteFile(SerializeSnapshot(state, boot_id_), new_path);
  if (status.ok() && A8A_FAILPOINT("state_file.rename", std::rename(new_path.c_str(), path_.c_str())) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat("cannot replace ", path_));
  }
  if (!status.ok()) static_cast<void>(A8A_FAILPOINT("state_file.unlink_new", ::unlink(new_path.c_str())));
  return status;
}

absl::Status StateFile::TryToWrite() const {
  const std::string path = absl::StrCat(path_, ".probe");
  absl::Status status = WriteFile(std::string(kProbeBytes, '\0'), path);
  static_cast<void>(A8A_FAILPOINT("state_file.unlink_probe", ::unlink(path.c_str())));
  return status;
}

void StateFile::Remove() const {
  static_cast<void>(A8A_FAILPOINT("state_file.unlink", ::unlink(path_.c_str())));
  static_cast<void>(A8A_FAILPOINT("state_file.unlink_leftover", ::unlink(absl::StrCat(path_, ".new").c_str())));
}

}  // namespace a8a::daemon
