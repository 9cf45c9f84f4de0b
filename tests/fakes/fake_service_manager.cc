#include "tests/fakes/fake_service_manager.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "kernels/base/check.h"

namespace a8a::testing {

FakeServiceManager::FakeServiceManager()
    : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)), stop_(::eventfd(0, EFD_CLOEXEC)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = directory_.path() + "/notify";
  A8A_CHECK(path.size() < sizeof(address.sun_path), "the socket's path is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  A8A_CHECK(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "bind");
  thread_ = std::thread([this] { Run(); });
}

FakeServiceManager::~FakeServiceManager() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

std::string FakeServiceManager::environment() const {
  return absl::StrCat("NOTIFY_SOCKET=", directory_.path(), "/notify");
}

std::vector<std::pair<std::string, int>> FakeServiceManager::descriptors() const {
  const MutexLock lock(&mutex_);
  std::vector<std::pair<std::string, int>> stored;
  for (const auto& [name, fd] : descriptors_) stored.emplace_back(name, fd.get());
  return stored;
}

std::vector<std::string> FakeServiceManager::lines() const {
  const MutexLock lock(&mutex_);
  return lines_;
}

int FakeServiceManager::Count(absl::string_view state) const {
  const MutexLock lock(&mutex_);
  return static_cast<int>(std::count(lines_.begin(), lines_.end(), state));
}

void FakeServiceManager::Run() {
  while (true) {
    pollfd entries[] = {{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                        {.fd = stop_.get(), .events = POLLIN, .revents = 0}};
    ::poll(entries, 2, -1);
    if ((entries[1].revents & POLLIN) != 0) return;
    if ((entries[0].revents & POLLIN) != 0) Receive();
  }
}

void FakeServiceManager::Receive() {
  char text[4096];
  iovec part = {.iov_base = text, .iov_len = sizeof(text)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t size = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (size <= 0) return;
  UniqueFd fd;
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int raw = -1;
    std::memcpy(&raw, CMSG_DATA(header), sizeof(raw));
    fd = UniqueFd(raw);
  }
  const std::vector<std::string> lines = absl::StrSplit(absl::string_view(text, static_cast<std::size_t>(size)), '\n');
  std::string name;
  for (const std::string& line : lines) {
    if (absl::StartsWith(line, "FDNAME=")) name = line.substr(7);
  }
  const auto has = [&](absl::string_view line) { return std::find(lines.begin(), lines.end(), line) != lines.end(); };
  const MutexLock lock(&mutex_);
  if (has("FDSTORE=1") && fd.valid()) descriptors_.insert_or_assign(name, std::move(fd));
  if (has("FDSTOREREMOVE=1")) descriptors_.erase(name);
  lines_.insert(lines_.end(), lines.begin(), lines.end());
}

}  // namespace a8a::testing
