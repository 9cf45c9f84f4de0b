// One WatchStats stream: a snapshot at once and then one each interval.
//
// One thing is under way at a time: a timer, a snapshot on the executor, or a write; a slow reader thus gets fewer
// snapshots, and none queue up. Thread-safe.
#ifndef A8A_DAEMON_STATS_WATCH_H_
#define A8A_DAEMON_STATS_WATCH_H_

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "a8a/v1/stat_service.pb.h"
#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "daemon/core/core.h"
#include "daemon/executor.h"
#include "daemon/stats_reader.h"
#include "daemon/timer_queue.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class StatsWatch final : public std::enable_shared_from_this<StatsWatch> {
 public:
  using Reactor = grpc::ServerWriteReactor<v1::WatchStatsResponse>;

  struct Options {
    // All of these outlive the stream.
    const StatsReader* reader = nullptr;
    Executor* executor = nullptr;
    TimerQueue* timers = nullptr;

    Caller caller;
    std::uint64_t group_id = 0;
    absl::Duration interval;
  };

  explicit StatsWatch(Options options) : options_(std::move(options)) {}

  [[nodiscard]] std::uint32_t uid() const { return options_.caller.identity.uid; }

  // Takes the first snapshot; the reactor deletes itself when the call is over. Call once.
  [[nodiscard]] Reactor* Start();
  // Ends the stream with `status`; the first status stays.
  void End(const absl::Status& status);

 private:
  class ReactorImpl;

  void Snapshot();
  void SendSnapshot();
  void OnWriteDone(bool ok);
  void OnDone();
  void FinishIfIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  absl::Time next_;  // used by one of the steps at a time
  Mutex mutex_;
  ReactorImpl* reactor_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null once the call is over
  v1::WatchStatsResponse response_;                         // belongs to gRPC while writing_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> finish_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_STATS_WATCH_H_
