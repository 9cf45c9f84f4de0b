// Another process with a connection of its own to the daemon, driven by commands: for what depends on who calls.
//
// It runs the helper program peer_process_main.cc, because gRPC does not survive a fork.
#ifndef A8A_TESTS_INTEGRATION_DAEMON_PEER_PROCESS_H_
#define A8A_TESTS_INTEGRATION_DAEMON_PEER_PROCESS_H_

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>

namespace a8a::testing {

class PeerProcess {
 public:
  // A process of this test's uid, or of `uid` (which takes root), that has connected to the daemon at `address`.
  explicit PeerProcess(const std::string& address, uid_t uid = static_cast<uid_t>(-1));
  // With `credentials` "UID", "UID:GID" or "UID:GID:GROUP", the last being its one supplementary group; "-": this
  // test's.
  PeerProcess(const std::string& address, const std::string& credentials);
  // Kills the process if it still runs.
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

  // Runs one command (see peer_process_main.cc) and returns its answer: "OK", "OK RESULT" or the name of an error code.
  // Empty if the process has ended.
  std::string Command(const std::string& command);
  // Sends a command whose answer comes later.
  void Begin(const std::string& command);
  std::string Answer();

  // Sends a signal and waits until the process has ended.
  void Kill(int signal);

 private:
  pid_t pid_ = -1;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> commands_{nullptr, &std::fclose};
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> answers_{nullptr, &std::fclose};
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_DAEMON_PEER_PROCESS_H_
