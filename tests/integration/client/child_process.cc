#include "tests/integration/client/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "kernels/base/check.h"

namespace a8a {
namespace {

constexpr int kPatienceMs = 60'000;

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments) {
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  int ends[2];
  A8A_CHECK(pipe2(ends, O_CLOEXEC) == 0, "cannot make a pipe");
  output_ = UniqueFd(ends[0]);
  const UniqueFd write_end(ends[1]);
  pid_ = fork();
  A8A_CHECK(pid_ >= 0, "cannot fork");
  if (pid_ > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(write_end.get(), STDOUT_FILENO);
  execv(pointers[0], pointers.data());
  _exit(127);
}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  Wait();
}

std::string ChildProcess::ReadLine() {
  std::string line;
  pollfd entry = {.fd = output_.get(), .events = POLLIN, .revents = 0};
  while (poll(&entry, 1, kPatienceMs) > 0) {
    char byte = 0;
    if (read(output_.get(), &byte, 1) != 1 || byte == '\n') break;
    line.push_back(byte);
  }
  return line;
}

void ChildProcess::Signal(int signal) const {
  if (pid_ > 0) kill(pid_, signal);
}

int ChildProcess::Wait() {
  int status = 0;
  if (pid_ > 0) waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

}  // namespace a8a
