#include "tests/integration/daemon/peer_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "kernels/base/check.h"

namespace a8a::testing {
namespace {

std::array<int, 2> Pipe() {
  std::array<int, 2> ends = {};
  A8A_CHECK(::pipe2(ends.data(), O_CLOEXEC) == 0, "pipe2");
  return ends;
}

}  // namespace

PeerProcess::PeerProcess(const std::string& address, uid_t uid)
    : PeerProcess(address, uid == static_cast<uid_t>(-1) ? "-" : std::to_string(uid)) {}

PeerProcess::PeerProcess(const std::string& address, const std::string& credentials) {
  const std::array<int, 2> commands = Pipe();
  const std::array<int, 2> answers = Pipe();
  pid_ = ::fork();
  A8A_CHECK(pid_ >= 0, "fork");
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(commands[0], STDIN_FILENO);
    ::dup2(answers[1], STDOUT_FILENO);
    ::execl(A8A_PEER_PROCESS_PATH, A8A_PEER_PROCESS_PATH, address.c_str(), credentials.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(commands[0]);
  ::close(answers[1]);
  commands_.reset(::fdopen(commands[1], "w"));
  answers_.reset(::fdopen(answers[0], "r"));
  A8A_CHECK(Answer() == "READY", "the peer process did not start");
}

PeerProcess::~PeerProcess() {
  if (pid_ > 0) Kill(SIGKILL);
}

std::string PeerProcess::Command(const std::string& command) {
  Begin(command);
  return Answer();
}

void PeerProcess::Begin(const std::string& command) {
  std::fprintf(commands_.get(), "%s\n", command.c_str());
  std::fflush(commands_.get());
}

std::string PeerProcess::Answer() {
  std::array<char, 1024> line = {};
  if (std::fgets(line.data(), static_cast<int>(line.size()), answers_.get()) == nullptr) return "";
  std::string answer = line.data();
  if (!answer.empty() && answer.back() == '\n') answer.pop_back();
  return answer;
}

void PeerProcess::Kill(int signal) {
  ::kill(pid_, signal);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace a8a::testing
