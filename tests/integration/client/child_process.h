// A program in a process of its own, with its standard output captured. Killed by the destructor if it still runs.
#ifndef A8A_TESTS_INTEGRATION_CLIENT_CHILD_PROCESS_H_
#define A8A_TESTS_INTEGRATION_CLIENT_CHILD_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "kernels/base/unique_fd.h"

namespace a8a {

class ChildProcess {
 public:
  // arguments[0] is the path of the program. The test ends if it cannot be started.
  explicit ChildProcess(const std::vector<std::string>& arguments);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // The next line it prints, without the line feed; what there is when it ends, or says nothing for a minute.
  [[nodiscard]] std::string ReadLine();
  void Signal(int signal) const;
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Waits for its end; the wait status of waitpid.
  int Wait();

 private:
  pid_t pid_ = -1;
  UniqueFd output_;
};

}  // namespace a8a

#endif  // A8A_TESTS_INTEGRATION_CLIENT_CHILD_PROCESS_H_
