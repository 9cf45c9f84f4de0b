// A program under test: started with arguments, its output captured, its end waited for.
//
//   Program job({A8A_DP_MLA_PATH, "--steps=1"});
//   const ProgramResult result = job.Wait();
//   EXPECT_EQ(result.exit.code, 0) << result.err;
//
// The destructor kills a program that still runs. Not thread-safe.
#ifndef A8A_TESTS_INTEGRATION_MAIN_JOB_PROGRAM_H_
#define A8A_TESTS_INTEGRATION_MAIN_JOB_PROGRAM_H_

#include <sys/types.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "a8a/v1/stat_service.pb.h"
#include "kernels/base/unique_fd.h"
#include "tests/support/daemon_process.h"

namespace a8a::testing {

struct ProgramResult {
  ExitState exit;
  std::string out;
  std::string err;

  // `out` as the one JSON object that it must be; null, and a failed test, if it is not.
  [[nodiscard]] nlohmann::json Json() const;
};

// A child process of a program, held so that its end can be seen even after its number is in use again.
struct ChildProcess {
  pid_t pid = -1;
  UniqueFd pidfd;
  std::vector<std::string> arguments;

  // Waits for the end of the process.
  [[nodiscard]] bool EndsWithin(absl::Duration timeout) const;
};

class Program {
 public:
  // `environment` holds "NAME=value" on top of the test's own.
  explicit Program(std::vector<std::string> arguments, std::vector<std::string> environment = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  void Signal(int signal) const;
  // Waits for the end; a program that outlives kPatience is killed and fails the test.
  [[nodiscard]] ProgramResult Wait();

  // The program's children now.
  [[nodiscard]] std::vector<ChildProcess> Children() const;

 private:
  [[nodiscard]] std::string Read(const char* name) const;

  TempDir directory_;
  pid_t pid_ = -1;  // -1 once reaped
};

// Starts and waits.
[[nodiscard]] ProgramResult RunProgram(std::vector<std::string> arguments, std::vector<std::string> environment = {});

// The child that is rank `rank` of a program that runs its ranks as children; null if there is none.
[[nodiscard]] const ChildProcess* FindRank(const std::vector<ChildProcess>& children, int rank);

// Asks for statistics until `done` returns true for them; false when it has not within kPatience.
[[nodiscard]] bool PollStats(const DaemonProcess& daemon, const std::function<bool(const v1::Stats&)>& done);
// Waits until every rank of some group on the daemon has ended at least one all-to-all: a main job in full swing.
[[nodiscard]] bool WaitForAllToAlls(const DaemonProcess& daemon);
// Waits until the daemon holds no session any more.
[[nodiscard]] bool WaitForNoSessions(const DaemonProcess& daemon);

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_MAIN_JOB_PROGRAM_H_
