// A hand-back on fd.sock with more descriptors than it has room for. The rest of fd.sock: tests/integration/daemon.
#include "daemon/fd_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "daemon/core/core_state.h"
#include "tests/fakes/fake_memory_provider.h"
#include "tests/support/temp_dir.h"

namespace a8a::daemon {
namespace {

constexpr std::int64_t kBufferBytes = 4096;

std::unique_ptr<Core> MakeCore() {
  const DeviceInfo host = {.name = "host",
                           .kind = DeviceKind::kHost,
                           .uuid = "",
                           .granularity_bytes = kBufferBytes,
                           .pool_limit_bytes = 16 * kBufferBytes};
  std::vector<std::unique_ptr<MemoryProvider>> providers;
  providers.push_back(std::make_unique<FakeMemoryProvider>(host, std::make_shared<FakeMemoryScript>()));
  return std::make_unique<Core>(CoreOptions(), std::move(providers), Clock::Real(), nullptr);
}

std::ptrdiff_t DescriptorCount() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return std::distance(begin(files), end(files));
}

void SendWithTwoDescriptors(int socket, FdRequest request, int fd) {
  iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
  const int fds[] = {fd, fd};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(fds));
  std::memcpy(CMSG_DATA(header), fds, sizeof(fds));
  ASSERT_EQ(::sendmsg(socket, &message, 0), static_cast<ssize_t>(sizeof(request)));
}

UniqueFd UnixSocket(int flags = 0) { return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0)); }

// It was taken, and the second descriptor stayed in the daemon: room for one is, by its alignment, room for two.
TEST(FdServerTest, ASecondDescriptorOfAHandBackIsRefusedAndDoesNotStay) {
  const Caller caller = {.identity = {.uid = ::getuid(), .gid = ::getgid(), .pid = ::getpid()}};
  const std::unique_ptr<Core> earlier = MakeCore();
  const auto session = earlier->Attach(caller, "test", nullptr);
  const auto lease = earlier->RegisterBuffer(caller, session->session_id, "host", kBufferBytes, "b");
  const auto held = earlier->RedeemTicket(caller.identity, session->session_id, lease->ticket.value);
  ASSERT_TRUE(held.ok()) << held.status();
  const CoreState state = earlier->Export();
  earlier->LetGo();
  const std::unique_ptr<Core> core = MakeCore();
  Core::KeptDescriptors kept;
  ASSERT_TRUE(core->Restore(state, &kept).ok());
  const testing::TempDir directory;
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  (directory.path() + "/fd.sock").copy(address.sun_path, sizeof(address.sun_path) - 1);
  UniqueFd listener = UnixSocket(SOCK_NONBLOCK);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const Settings settings{CommandLine(), Options()};
  UidCounter descriptors;
  const auto server = FdServer::Start(std::move(listener), &settings, core.get(), &descriptors);
  ASSERT_TRUE(server.ok()) << server.status();
  const UniqueFd client = UnixSocket();
  const std::ptrdiff_t before = DescriptorCount();
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  FdRequest request = {
      .magic = kFdMagic, .kind = FdRequestKind::kHandBackBuffer, .session_id = session->session_id, .argument = {}};
  const FdHandBack object = {lease->buffer.buffer_id, lease->buffer.generation};
  std::memcpy(request.argument, &object, sizeof(object));

  SendWithTwoDescriptors(client.get(), request, held->fd.get());

  FdReply reply = {};
  ASSERT_EQ(::recv(client.get(), &reply, sizeof(reply), 0), static_cast<ssize_t>(sizeof(reply)));
  EXPECT_EQ(reply.code, static_cast<int>(absl::StatusCode::kInvalidArgument)) << reply.message;
  // Once the connection has ended, nothing of it is left; descriptors that were taken are closed by another thread.
  EXPECT_EQ(::recv(client.get(), &reply, sizeof(reply), 0), 0);
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (DescriptorCount() != before && absl::Now() < deadline) std::this_thread::yield();
  EXPECT_EQ(DescriptorCount(), before);
}

}  // namespace
}  // namespace a8a::daemon
