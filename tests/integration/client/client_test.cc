// Sessions and buffers through the public interface.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "absl/time/clock.h"
#include "tests/integration/client/client_fixture.h"

namespace a8a {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ClientTest : public ClientFixture {};

TEST_F(ClientTest, WithoutADaemonTheErrorNamesThePath) {
  const a8a::testing::TempDir empty;

  EXPECT_THAT(Client::Connect({.runtime_dir = empty.path(), .timeout = absl::Seconds(1)}),
              StatusIs(StatusCode::kUnavailable, HasSubstr(empty.path() + "/a8a.sock")));
}

TEST_F(ClientTest, ADaemonThatWasKilledIsUnavailableWithinTheTimeout) {
  daemon_->Kill();
  const absl::Time start = absl::Now();

  EXPECT_THAT(Client::Connect({.runtime_dir = daemon_->runtime_dir(), .timeout = absl::Seconds(2)}),
              StatusIs(StatusCode::kUnavailable));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

TEST_F(ClientTest, ABadNameIsRefusedByTheDaemon) {
  EXPECT_THAT(Client::Connect({.runtime_dir = daemon_->runtime_dir(), .client_name = std::string(65, 'x')}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("65 bytes long; at most 64")));
}

TEST_F(ClientTest, ASessionSeesTheDaemonsDevices) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  EXPECT_THAT(client->status(), IsOk());
  EXPECT_NE(client->session_id(), 0U);
  ASSERT_EQ(client->devices().size(), 1U);
  EXPECT_EQ(client->devices()[0].name, "host");
  EXPECT_FALSE(client->draining());
}

TEST_F(ClientTest, TwoClientsInOneProcessAreTwoSessions) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto one, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto two, Connect());

  EXPECT_NE(one->session_id(), two->session_id());
}

TEST_F(ClientTest, NothingIsLeftBehind) {
  std::thread([] {}).join();  // ThreadSanitizer begins a thread of its own with the first
  const int threads = CountEntries("/proc/self/task");
  { A8A_ASSERT_OK_AND_ASSIGN(const auto warm_up, Connect()); }
  ASSERT_TRUE(Eventually([&] { return CountEntries("/proc/self/task") == threads; }));
  const int descriptors = CountEntries("/proc/self/fd");

  for (int i = 0; i < 5; ++i) {
    A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
    A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, group->RegisterWindow("w", 4096));
    A8A_ASSERT_OK_AND_ASSIGN(const auto buffer, client->RegisterBuffer({.size_bytes = 1}));
  }

  EXPECT_TRUE(Eventually([&] { return CountEntries("/proc/self/task") == threads; })) << "threads are left";
  EXPECT_TRUE(Eventually([&] { return CountEntries("/proc/self/fd") == descriptors; })) << "descriptors are left";
  EXPECT_TRUE(daemon_->WaitForLog("session_ended session=6")) << daemon_->log();
}

TEST_F(ClientTest, ABufferIsZeroMappedAndGivenBack) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(auto buffer, client->RegisterBuffer({.size_bytes = 10000, .name = "b"}));

  EXPECT_GE(buffer->size_bytes(), 10000);
  EXPECT_EQ(std::memchr(buffer->data(), 1, static_cast<std::size_t>(buffer->size_bytes())), nullptr);
  EXPECT_EQ(std::to_integer<int>(buffer->data()[9999]), 0);
  std::memset(buffer->data(), 7, static_cast<std::size_t>(buffer->size_bytes()));
  EXPECT_THAT(buffer->status(), IsOk());
  buffer.reset();

  EXPECT_TRUE(daemon_->WaitForLog("buffer_released"));
}

TEST_F(ClientTest, BadBuffersNameTheReason) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 0}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("size_bytes is 0")));
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = std::int64_t{1} << 50}), StatusIs(StatusCode::kResourceExhausted));
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 1, .device = Device{"tape:0"}}), StatusIs(StatusCode::kNotFound));
}

TEST_F(ClientTest, AForkedChildMustNotUseTheClient) {
  A8A_ASSERT_OK_AND_ASSIGN(auto client, Connect());

  const pid_t child = fork();
  if (child == 0) {
    const bool refused = client->RegisterBuffer({.size_bytes = 1}).status().code() == StatusCode::kFailedPrecondition;
    client.reset();  // gives nothing of the parent's back
    _exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);

  EXPECT_EQ(status, 0);
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 1}), IsOk()) << "the parent's session lives on";
}

TEST_F(ClientTest, AProgramThatIsExecutedInheritsNoDescriptor) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));

  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    const int flags = fcntl(fd, F_GETFD);
    if (fd <= 2 || flags < 0) continue;
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(entry.path(), error);
    const bool ours =
        target.find("socket:") == 0 || target.find("memfd:") != std::string::npos || target.find("anon_inode:") == 0;
    EXPECT_TRUE(!ours || (flags & FD_CLOEXEC) != 0) << fd << " -> " << target;
  }
}

TEST_F(ClientTest, ADrainingDaemonRefusesNewWorkAndTellsTheClient) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(auto group, client->Join({.name = "runs"}));

  daemon_->Signal(SIGTERM);

  EXPECT_TRUE(Eventually([&] { return client->draining(); }));
  EXPECT_THAT(client->Join({.name = "late", .timeout = absl::Seconds(5)}), StatusIs(StatusCode::kUnavailable));
  group.reset();
  const auto end = daemon_->Wait();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(end->code, 0);
}

TEST_F(ClientTest, AllToAllsGoOnWhenTheDaemonIsKilled) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone"}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto window, group->RegisterWindow("w", 4096));

  daemon_->Kill();

  EXPECT_TRUE(Eventually([&] { return client->status().code() == StatusCode::kUnavailable; }));
  const std::int32_t split[] = {1};
  EXPECT_THAT(group->AllToAll({.data = "row", .view = View::Contiguous(1, 3)},
                              {.window = window.get(), .view = View::Contiguous(1, 3)}, Splits::Int32(split, split),
                              Channel{0}),
              IsOk());
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 1, .timeout = absl::Seconds(2)}),
              StatusIs(StatusCode::kUnavailable));
}

TEST_F(ClientTest, CallsThatMeetTheDaemonsDeathAreUnavailable) {
  // Used to crash: between the end of the stream and the session's notice of it there was no connection to call on.
  constexpr int kDeaths = 4;  // each takes the time that calls wait for a daemon to return
  for (int death = 0; death < kDeaths; ++death) {
    if (death > 0) SetUp();
    A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        absl::Status status;
        while (status.ok()) status = client->RegisterBuffer({.size_bytes = 1, .timeout = absl::Seconds(5)}).status();
        for (int i = 0; i < 2000; ++i) {
          client->RegisterBuffer({.size_bytes = 1, .timeout = absl::Microseconds(1)}).status().IgnoreError();
        }
        EXPECT_THAT(status, StatusIs(StatusCode::kUnavailable));
      });
    }
    ASSERT_TRUE(daemon_->WaitForLog("buffer_leased"));
    daemon_->Kill();
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_F(ClientTest, ManyThreadsMayUseOneClient) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        A8A_ASSERT_OK_AND_ASSIGN(const auto buffer, client->RegisterBuffer({.size_bytes = 4096}));
        buffer->data()[0] = std::byte{1};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace a8a
