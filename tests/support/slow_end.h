// A process whose end takes as long as a test likes, as that of a process with GPU memory takes the driver's time:
// killed, it runs no more and its descriptors are closed, but the kernel does not get done with it.
//
//   SlowEnd slow;
//   slow.Start([&] { rank.emplace(arguments); });  // the one process that is started here
//   rank->Signal(SIGKILL);
//   ...
//   slow.Release();                                // before anything waits for its end
//
// It is the first process of a PID namespace, which ends only when all others there have been waited for; this object
// has one, and waits for it in Release. [pid_namespaces(7), zap_pid_ns_processes in kernel/pid_namespace.c]
#ifndef A8A_TESTS_SUPPORT_SLOW_END_H_
#define A8A_TESTS_SUPPORT_SLOW_END_H_

#include <sys/types.h>

#include <functional>

namespace a8a::testing {

class SlowEnd {
 public:
  SlowEnd() = default;
  ~SlowEnd() { Release(); }
  SlowEnd(const SlowEnd&) = delete;
  SlowEnd& operator=(const SlowEnd&) = delete;

  // Calls `start`, which starts one process and no thread. False if this process may not make a PID namespace: it takes
  // CAP_SYS_ADMIN.
  [[nodiscard]] bool Start(const std::function<void()>& start);
  // Requires that the process has been killed; returns when nothing holds its end up any more.
  void Release();

 private:
  pid_t holder_ = -1;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_SUPPORT_SLOW_END_H_
