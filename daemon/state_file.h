// The file that a daemon's state is in: DIR/state, replaced as a whole by every save, so that a daemon that is killed
// at any moment leaves one that is whole. Not synchronized to a disk: a state means nothing after the machine has
// restarted.
//
// What is there but cannot be used is moved to DIR/state.refused, over what was there, for whoever looks into it.
// Not thread-safe, but for Load before all else.
#ifndef A8A_DAEMON_STATE_FILE_H_
#define A8A_DAEMON_STATE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/core/core_state.h"

namespace a8a::daemon {

class StateFile {
 public:
  // Errors: those of reading boot_id.
  [[nodiscard]] static absl::StatusOr<StateFile> Open(const std::string& directory);

  // What an earlier daemon has left.
  //
  // Errors: NOT_FOUND (nothing); else why it cannot be used: as ParseSnapshot, or it is not a file that only this uid
  // can write; it is then still there.
  [[nodiscard]] absl::StatusOr<CoreState> Load() const;
  // Moves what is there aside.
  void Quarantine() const;

  // Errors: those of the file system; what was saved last is then still there.
  [[nodiscard]] absl::Status Save(const CoreState& state) const;
  // For when there is nothing to take up.
  void Remove() const;
  // Writes some file beside it and removes that: whether a state could be saved.
  [[nodiscard]] absl::Status TryToWrite() const;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string quarantine_path() const { return path_ + ".refused"; }

 private:
  StateFile(std::string path, std::string boot_id) : path_(std::move(path)), boot_id_(std::move(boot_id)) {}

  std::string path_;
  std::string boot_id_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_STATE_FILE_H_
