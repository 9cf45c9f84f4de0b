// A fixed number of threads that run work in the order it was submitted, with a bounded queue: for calls that may block
// in a memory provider, which a gRPC reaction must not.
//
// Thread-safe. The destructor runs what is queued, then ends the threads; nothing may be submitted from then on.
#ifndef A8A_DAEMON_EXECUTOR_H_
#define A8A_DAEMON_EXECUTOR_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class Executor {
 public:
  struct Options {
    // For messages and, cut to 15 bytes, for /proc.
    std::string name;
    int thread_count = 1;
    // Work that waits, apart from what the threads run.
    std::size_t queue_max = 1;
  };

  explicit Executor(Options options);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Errors: RESOURCE_EXHAUSTED when queue_max works wait; `work` is then dropped.
  [[nodiscard]] absl::Status Submit(std::function<void()> work);
  // For work that must not be lost and whose number something else bounds: the queue takes it whatever its length.
  void SubmitAlways(std::function<void()> work);

 private:
  void Run();

  const Options options_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_EXECUTOR_H_
