#include "tests/gpu/child_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "gtest/gtest.h"
#include "kernels/base/check.h"

namespace a8a {
namespace {

constexpr timeval kWaitMax = {.tv_sec = 60, .tv_usec = 0};

std::array<UniqueFd, 2> MakePair() {
  std::array<int, 2> ends = {};
  A8A_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0, "socketpair");
  for (const int end : ends) {
    A8A_CHECK(::setsockopt(end, SOL_SOCKET, SO_RCVTIMEO, &kWaitMax, sizeof kWaitMax) == 0, "SO_RCVTIMEO");
  }
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

[[noreturn]] void RunChild(const std::function<void(const Link&)>& body, UniqueFd socket) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  body(Link(std::move(socket)));
  std::fflush(nullptr);
  // Without destructors of globals: those of the test framework are the parent's.
  ::_exit(::testing::Test::HasFailure() ? 1 : 0);
}

union ControlBuffer {
  std::array<char, CMSG_SPACE(sizeof(int))> bytes;
  cmsghdr align;
};

}  // namespace

void Link::Send(std::int64_t value, int fd) const {
  iovec part = {&value, sizeof value};
  ControlBuffer control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  A8A_CHECK(::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) == sizeof value, "the other process is gone");
}

std::pair<std::int64_t, UniqueFd> Link::Receive() const {
  std::int64_t value = 0;
  iovec part = {&value, sizeof value};
  ControlBuffer control = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  A8A_CHECK(::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC) == sizeof value,
            "the other process is gone or silent");
  int fd = -1;
  if (const cmsghdr* const header = CMSG_FIRSTHDR(&message)) std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return {value, UniqueFd(fd)};
}

void Link::SendText(const std::string& text) const {
  A8A_CHECK(::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) >= 0, "the other process is gone");
}

std::string Link::ReceiveText() const {
  std::array<char, 256> text = {};
  const ssize_t size = ::recv(socket_.get(), text.data(), text.size(), 0);
  A8A_CHECK(size > 0, "the other process is gone or silent");
  return std::string(text.data(), static_cast<std::size_t>(size));
}

Child Child::Start(const std::function<void(const Link&)>& body) {
  auto [ours, theirs] = MakePair();
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  A8A_CHECK(pid >= 0, "fork");
  if (pid == 0) {
    ours.Reset();
    RunChild(body, std::move(theirs));
  }
  return Child(pid, Link(std::move(ours)));
}

Child::~Child() {
  if (pid_ > 0) Kill();
}

void Child::Kill() {
  ::kill(pid_, SIGKILL);
  static_cast<void>(Wait());
}

int Child::Wait() {
  int status = 0;
  A8A_CHECK(::waitpid(std::exchange(pid_, -1), &status, 0) > 0, "waitpid");
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace a8a
