// The options in force, and how they are read again while the daemon runs. Thread-safe.
#ifndef A8A_DAEMON_SETTINGS_H_
#define A8A_DAEMON_SETTINGS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "daemon/command_line.h"
#include "daemon/options.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class Settings {
 public:
  Settings(CommandLine command_line, Options options);

  // Options that are not live never change; readers of live ones call this each time.
  [[nodiscard]] std::shared_ptr<const Options> current() const;

  // Keys of the options whose value differs from the one in force.
  struct Changes {
    std::vector<std::string> applied;
    std::vector<std::string> needs_restart;
  };
  // Reads config file and flags again and puts live options in force; nothing if there is an error. Blocks on the disk.
  //
  // Errors: FAILED_PRECONDITION if there is no config file; those of LoadOptions.
  [[nodiscard]] absl::StatusOr<Changes> Reload();

 private:
  const CommandLine command_line_;
  mutable Mutex mutex_;
  std::shared_ptr<const Options> options_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SETTINGS_H_
