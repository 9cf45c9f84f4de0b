// Processes of a GPU test. The test's own process never touches CUDA: a driver does not survive fork, and what a test
// shows is what happens between processes. It starts children and tells them when to go on.
//
//   Child daemon = Child::Start([](const Link& link) { ...; link.SendFd(fd); link.Await(); });
//   const UniqueFd fd = daemon.link().ReceiveFd();
//   daemon.link().Signal();
//   EXPECT_EQ(daemon.Wait(), 0);
//
// A failed expectation in a child is printed there and makes its exit status 1.
#ifndef A8A_TESTS_GPU_CHILD_PROCESS_H_
#define A8A_TESTS_GPU_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "kernels/base/unique_fd.h"

namespace a8a {

// One end of a socket between test and child. No call waits longer than a minute; one that cannot go on ends the
// process with a message, which ends the other side too.
class Link {
 public:
  explicit Link(UniqueFd socket) : socket_(std::move(socket)) {}

  void Signal() const { SendValue(0); }
  void Await() const { static_cast<void>(ReceiveValue()); }
  void SendValue(std::int64_t value) const { Send(value, /*fd=*/-1); }
  [[nodiscard]] std::int64_t ReceiveValue() const { return Receive().first; }
  void SendText(const std::string& text) const;
  [[nodiscard]] std::string ReceiveText() const;
  void SendFd(int fd) const { Send(0, fd); }
  [[nodiscard]] UniqueFd ReceiveFd() const { return Receive().second; }

 private:
  void Send(std::int64_t value, int fd) const;
  [[nodiscard]] std::pair<std::int64_t, UniqueFd> Receive() const;

  UniqueFd socket_;
};

class Child {
 public:
  [[nodiscard]] static Child Start(const std::function<void(const Link&)>& body);
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)), link_(std::move(other.link_)) {}
  Child& operator=(Child&&) = delete;
  // Kills it if nobody has waited for it.
  ~Child();

  [[nodiscard]] const Link& link() const { return link_; }
  // Ends it by SIGKILL and returns when the kernel has taken down all that it held.
  void Kill();
  // Its exit status, 128 + N for signal N.
  [[nodiscard]] int Wait();

 private:
  Child(pid_t pid, Link link) : pid_(pid), link_(std::move(link)) {}

  pid_t pid_;
  Link link_;
};

}  // namespace a8a

#endif  // A8A_TESTS_GPU_CHILD_PROCESS_H_
