// A fixed number of threads that run work for many uids, with bounded queues: for calls that may block in a memory
// provider, which a gRPC reaction must not.
//
// Work of one uid begins in the order it was submitted; uids take turns, one work each, and none has all threads, so
// that whatever one uid submits, another's next work waits for no more than what runs. Work may be told to wait for a
// time; what the uid submits after it waits too.
//
// Thread-safe. The destructor runs what is queued, then ends the threads; nothing may be submitted from then on.
#ifndef A8A_DAEMON_EXECUTOR_H_
#define A8A_DAEMON_EXECUTOR_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

// Whose work it is, and when it may begin.
struct Turn {
  std::uint32_t uid = 0;
  std::chrono::steady_clock::time_point not_before = {};  // long ago
};

class Executor {
 public:
  struct Options {
    // For messages and, cut to 15 bytes, for /proc.
    std::string name;
    int thread_count = 1;
    // Work of one uid that waits, apart from what the threads run.
    std::size_t queue_max = 1;
    // If set, is told how long each work has waited since its turn had come.
    std::function<void(absl::Duration)> on_start = nullptr;
  };

  // Whose work is the daemon's own; no process has this uid [credentials(7)]. It may have all threads.
  static constexpr std::uint32_t kDaemon = ~std::uint32_t{0};

  explicit Executor(Options options);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Starts the threads; until then work waits, and the destructor drops it. Call once. Errors: RESOURCE_EXHAUSTED (no
  // more threads; those that were started end with the executor).
  [[nodiscard]] absl::Status Start();

  // Errors: RESOURCE_EXHAUSTED when queue_max works of the uid wait; `work` is then dropped.
  [[nodiscard]] absl::Status Submit(const Turn& turn, std::function<void()> work);
  // For work that must not be lost and whose number something else bounds: the queue takes it whatever its length.
  void SubmitAlways(const Turn& turn, std::function<void()> work);

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Waiting {
    Time not_before;
    Time submitted;
    std::function<void()> work;
  };
  // The work of one uid, while there is any.
  struct Line {
    std::uint32_t uid = 0;
    std::deque<Waiting> queue = {};
    int running = 0;
  };
  using Lines = std::list<Line>;

  void Run();
  [[nodiscard]] Line& LineOf(std::uint32_t uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The line whose turn it is; lines_.end() if none may run now. Then `*next` is when one may, unless something
  // happens.
  [[nodiscard]] Lines::iterator NextLine(Time* next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  // In the order of their turns. A handful: uids that have work at this moment.
  Lines lines_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_EXECUTOR_H_
