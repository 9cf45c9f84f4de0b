// A look at the daemon from where its clients stand: whether what they wait for still goes round.
#ifndef A8A_DAEMON_SELF_PROBE_H_
#define A8A_DAEMON_SELF_PROBE_H_

#include <memory>
#include <string>

#include "a8a/v1/buffer_service.grpc.pb.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "daemon/executor.h"
#include "daemon/timer_queue.h"

namespace a8a::daemon {

class SelfProbe {
 public:
  // Both outlive the probe.
  struct Deps {
    TimerQueue* timers = nullptr;
    Executor* ends = nullptr;
  };
  SelfProbe(std::string runtime_dir, Deps deps) : runtime_dir_(std::move(runtime_dir)), deps_(deps) {}

  // Connects to both sockets and is let go; makes a call that takes the core's lock, over a connection that is kept;
  // and has work done by the timers' thread and the executor that the ends of processes need. Not the executor of
  // allocations, which may be busy for as long as the kernel takes. Whoever is turned away, because descriptors or
  // connections are used up, was heard. Used by one thread.
  //
  // Errors: DEADLINE_EXCEEDED naming what has not answered within `timeout`, or what else went wrong.
  [[nodiscard]] absl::Status Run(absl::Duration timeout);

  // Parts of it, by any thread: that whoever serves fd.sock takes connections; that whoever serves a8a.sock does, and
  // the timers' thread and the executor of ends do their work.
  [[nodiscard]] absl::Status CheckFdSocket(absl::Time deadline) const;
  [[nodiscard]] absl::Status CheckLoops(absl::Time deadline) const;

 private:
  [[nodiscard]] absl::Status CheckGrpcSocket(absl::Time deadline) const;
  [[nodiscard]] absl::Status CheckCall(absl::Time deadline);
  [[nodiscard]] absl::Status CheckEnds(absl::Time deadline) const;

  const std::string runtime_dir_;
  const Deps deps_;
  std::unique_ptr<v1::BufferService::Stub> stub_;  // null before the first call, and after one that failed
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SELF_PROBE_H_
