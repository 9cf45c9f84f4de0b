// The StateKeeper of a running daemon: the state goes to its file, descriptors to the service manager.
#ifndef A8A_DAEMON_RUNTIME_KEEPER_H_
#define A8A_DAEMON_RUNTIME_KEEPER_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "daemon/core/core_state.h"
#include "daemon/log.h"
#include "daemon/service_manager.h"
#include "daemon/state_file.h"

namespace a8a::daemon {

class RuntimeKeeper final : public StateKeeper {
 public:
  explicit RuntimeKeeper(StateFile file) : file_(std::move(file)) {}

  [[nodiscard]] const StateFile& file() const { return file_; }

  // What cannot be saved is logged, and serving goes on: the next save may succeed, and only a restart would miss it.
  void Save(const CoreState& state) override {
    const absl::Status status = SaveOrRemove(state);
    (status.ok() ? saves_total_ : save_failures_total_).fetch_add(1, std::memory_order_relaxed);
    if (saves_.exchange(status.ok()) == status.ok()) return;
    if (status.ok()) return LogEvent(LogLevel::kInfo, "state_saved_again", {{"path", file_.path()}});
    LogEvent(LogLevel::kError, "state_not_saved", {{"path", file_.path()}, {"reason", std::string(status.message())}});
  }
  // Whether the last save worked; from any thread.
  [[nodiscard]] bool saves() const { return saves_; }
  // Since the daemon's start; from any thread.
  [[nodiscard]] std::uint64_t saves_total() const { return saves_total_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t save_failures_total() const {
    return save_failures_total_.load(std::memory_order_relaxed);
  }
  void Keep(const std::string& key, int fd) override { ServiceManager::Keep(key, fd); }
  void Drop(const std::string& key) override { ServiceManager::Drop(key); }

 private:
  absl::Status SaveOrRemove(const CoreState& state) const {
    if (!state.sessions.empty()) return file_.Save(state);
    file_.Remove();  // there is nothing to take up
    return absl::OkStatus();
  }

  const StateFile file_;
  std::atomic<std::uint64_t> saves_total_ = 0;
  std::atomic<std::uint64_t> save_failures_total_ = 0;
  std::atomic<bool> saves_ = true;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_RUNTIME_KEEPER_H_
