// The daemon dies, is upgraded, or loses its state, while ranks run all-to-alls: they go on without an error, and the
// next daemon has what they hold.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_service_manager.h"
#include "tests/integration/client/child_process.h"
#include "tests/integration/daemon/daemon_client.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/temp_dir.h"

namespace a8a::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kKills = 10;
#else
constexpr int kKills = 200;
#endif
constexpr int kWorldSize = 4;
constexpr std::size_t kBuffersMax = 6;
constexpr std::int64_t kBufferBytes = 1 << 20;

class DaemonDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // ThreadSanitizer has a file there while a program starts; a rank that is killed then leaves it behind.
    const char* const tmpdir = std::getenv("TMPDIR");
    tmpdir_ = tmpdir == nullptr ? "/tmp" : tmpdir;
    ::setenv("TMPDIR", directory_.path().c_str(), /*overwrite=*/1);
    StartDaemon();
  }
  void TearDown() override {
    ranks_.clear();
    ::setenv("TMPDIR", tmpdir_.c_str(), /*overwrite=*/1);
  }

  void StartDaemon() {
    DaemonProcess::Options options;
    options.flags = {"--drain-timeout=50ms", "--health-interval=1h"};
    options.runtime_dir = directory_.path() + "/run";
    options.environment = environment_;
    options.descriptors = descriptors_;
    auto daemon = DaemonProcess::Start(options);
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    client_ = std::make_unique<DaemonClient>(daemon_->grpc_address());
  }

  void KillDaemon() {
    client_.reset();
    daemon_->Kill();
  }

  void StartRank(std::size_t rank, int world_size) {
    ranks_[rank] = std::make_unique<ChildProcess>(
        std::vector<std::string>{A8A_MORTAL_RANK_PATH, directory_.path() + "/run", "steady", std::to_string(rank),
                                 std::to_string(world_size), "60000"});
  }
  void StartRanks(int world_size) {
    ranks_.resize(static_cast<std::size_t>(world_size));
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) StartRank(rank, world_size);
    for (const auto& rank : ranks_) ASSERT_THAT(rank->ReadLine(), StartsWith("running "));
  }

  [[nodiscard]] int LogCount(absl::string_view event) const {
    return static_cast<int>(std::vector<std::string>(absl::StrSplit(daemon_->log(), event)).size()) - 1;
  }
  // All sessions have been taken up again.
  [[nodiscard]] bool AllHandedBack(int sessions) const {
    return Eventually([&] { return LogCount("session_handed_back") == sessions; });
  }

  static std::uint64_t AllToAlls(const v1::Stats& stats) {
    std::uint64_t sum = 0;
    for (const auto& group : stats.groups()) {
      for (const auto& rank : group.ranks()) {
        for (const auto& channel : rank.channels()) sum += channel.counters().all_to_alls();
      }
    }
    return sum;
  }

  const TempDir directory_;
  std::string tmpdir_;
  std::vector<std::string> environment_;
  std::vector<std::pair<std::string, int>> descriptors_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<DaemonClient> client_;
  std::vector<std::unique_ptr<ChildProcess>> ranks_;
};

TEST_F(DaemonDeathTest, KilledManyTimesItIsMissedByNobodyAndLosesNothing) {
  std::mt19937 random(20261124);
  StartRanks(kWorldSize);
  auto holder = Client::Connect({.runtime_dir = directory_.path() + "/run", .client_name = "holder"});
  ASSERT_TRUE(holder.ok()) << holder.status();
  std::vector<std::unique_ptr<Buffer>> buffers;
  const std::int64_t group_bytes = client_->Stats().devices(0).leased_bytes();
  std::uint64_t before = AllToAlls(client_->Stats());
  std::vector<double> outages_ms;  // from the kill until every session has handed back
  const absl::Time start = absl::Now();
  for (int kill = 0; kill < kKills; ++kill) {
    SCOPED_TRACE(absl::StrCat("kill ", kill));
    absl::SleepFor(absl::Microseconds(random() % 3000));
    KillDaemon();
    // While it is away: a release that nobody takes, and a registration that fails.
    if (!buffers.empty() && random() % 2 == 0) buffers.pop_back();
    // And a registration that waits for it.
    std::future<absl::StatusOr<std::unique_ptr<Buffer>>> registering;
    if (random() % 4 == 0) {
      registering = std::async(std::launch::async, [&] {
        return (*holder)->RegisterBuffer({.size_bytes = kBufferBytes, .device = Device::Host()});
      });
    }
    const absl::Time killed = absl::Now();
    StartDaemon();
    if (HasFatalFailure()) return;
    ASSERT_TRUE(AllHandedBack(kWorldSize + 1)) << daemon_->log();
    outages_ms.push_back(absl::ToDoubleMilliseconds(absl::Now() - killed));
    if (registering.valid()) {
      // It may have begun before the death was noticed.
      auto buffer = registering.get();
      EXPECT_TRUE(buffer.ok() || absl::IsUnavailable(buffer.status())) << buffer.status();
      if (buffer.ok()) buffers.push_back(*std::move(buffer));
    }
    const auto agrees = [&] {
      const v1::Stats stats = client_->Stats();
      return stats.sessions_size() == kWorldSize + 1 && stats.groups_size() == 1 &&
             stats.groups(0).group().state() == v1::GROUP_STATE_READY &&
             stats.devices(0).leased_bytes() == group_bytes + static_cast<std::int64_t>(buffers.size()) * kBufferBytes;
    };
    ASSERT_TRUE(Eventually(agrees)) << client_->Stats().DebugString() << daemon_->log();
    const std::uint64_t now = AllToAlls(client_->Stats());
    EXPECT_GT(now, before);
    before = now;
    while (buffers.size() >= kBuffersMax) buffers.pop_back();
    auto buffer = (*holder)->RegisterBuffer({.size_bytes = kBufferBytes, .device = Device::Host()});
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    buffers.push_back(*std::move(buffer));
  }
  const double with_kills = static_cast<double>(before) / absl::ToDoubleSeconds(absl::Now() - start);
  absl::SleepFor(absl::Seconds(1));
  const double without = static_cast<double>(AllToAlls(client_->Stats()) - before);
  std::sort(outages_ms.begin(), outages_ms.end());
  std::printf("%d kills; from the kill until all %d sessions have handed back: p50 %.0f, p99 %.0f, max %.0f ms\n",
              kKills, kWorldSize + 1, outages_ms[outages_ms.size() / 2], outages_ms[outages_ms.size() * 99 / 100],
              outages_ms.back());
  std::printf("all-to-alls a second: %.0f meanwhile, %.0f in the second afterwards\n", with_kills, without);
  // Their group has never ended, and now it does.
  ranks_[1]->Signal(SIGKILL);
  EXPECT_THAT(ranks_[0]->ReadLine(), HasSubstr("rank 1 died"));
}

TEST_F(DaemonDeathTest, ARankThatDiesMeanwhileIsNoticedAndItsMemoryReclaimed) {
  StartRanks(kWorldSize);
  const v1::Stats before = client_->Stats();
  KillDaemon();
  ranks_[2]->Signal(SIGKILL);
  ranks_[2]->Wait();
  StartDaemon();

  for (const std::size_t survivor : {0U, 1U, 3U}) EXPECT_THAT(ranks_[survivor]->ReadLine(), HasSubstr("rank 2 died"));
  StartRank(2, kWorldSize);
  for (const auto& rank : ranks_) EXPECT_THAT(rank->ReadLine(), StartsWith("running "));
  EXPECT_TRUE(Eventually([&] {
    const v1::Stats stats = client_->Stats();
    return stats.groups_size() == 1 && stats.sessions_size() == kWorldSize &&
           stats.devices(0).leased_bytes() == before.devices(0).leased_bytes();
  })) << client_->Stats().DebugString();
}

TEST_F(DaemonDeathTest, AnUpgradeUnderLoadEndsNothing) {
  StartRanks(kWorldSize);
  const v1::Stats before = client_->Stats();
  for (int i = 0; i < 3; ++i) {
    client_.reset();
    daemon_->Signal(SIGUSR2);
    const auto end = daemon_->Wait();
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_EQ(end->code, 0) << daemon_->log();
    EXPECT_THAT(daemon_->log(), HasSubstr("handed_over"));
    StartDaemon();
    ASSERT_TRUE(AllHandedBack(kWorldSize)) << daemon_->log();
  }

  const v1::Stats after = client_->Stats();
  EXPECT_GT(AllToAlls(after), AllToAlls(before));
  EXPECT_EQ(after.devices(0).leased_bytes(), before.devices(0).leased_bytes());
  ASSERT_EQ(after.sessions_size(), kWorldSize);
  EXPECT_EQ(after.sessions(0).session_id(), before.sessions(0).session_id());
}

// The documented command, as an operator types it.
TEST_F(DaemonDeathTest, TheUpgradeCommandReplacesTheDaemonUnderLoad) {
  StartRanks(2);
  const std::uint64_t before = AllToAlls(client_->Stats());
  const std::string log = directory_.path() + "/new.log";
  ChildProcess upgrade({A8A_DEPLOY_DIR "/upgrade", "--runtime-dir", daemon_->runtime_dir(), "--log", log,
                        A8A_NEW_DAEMON_PATH, "--backend", "host", "--drain-timeout", "50ms"});
  EXPECT_EQ(upgrade.Wait(), 0);
  const auto end = daemon_->Wait();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(end->code, 0) << daemon_->log();

  const DaemonClient client(daemon_->grpc_address());
  EXPECT_TRUE(Eventually([&] { return AllToAlls(client.Stats()) > before; }));
  EXPECT_EQ(client.Stats().sessions_size(), 2);
  ranks_.clear();
  pid_t pid = 0;
  std::ifstream(daemon_->runtime_dir() + "/a8a.pid") >> pid;
  ASSERT_GT(pid, 1);
  ::kill(pid, SIGTERM);
  EXPECT_TRUE(Eventually([&] { return !std::filesystem::exists(daemon_->runtime_dir() + "/a8a.pid"); }));
}

// The store of a service manager has the control segment while nobody can hand it back.
TEST_F(DaemonDeathTest, AServiceManagersStoreHasTheDescriptors) {
  const FakeServiceManager manager;
  KillDaemon();
  environment_ = {manager.environment()};
  StartDaemon();
  EXPECT_TRUE(Eventually([&] { return manager.Heard("READY=1"); }));
  StartRanks(2);
  // Two sessions; two flags and four parts of windows; a control segment.
  ASSERT_TRUE(Eventually([&] { return manager.descriptors().size() == 9; })) << manager.descriptors().size();
  for (const auto& rank : ranks_) rank->Signal(SIGSTOP);
  KillDaemon();
  descriptors_ = manager.descriptors();
  StartDaemon();

  const v1::Stats stats = client_->Stats();
  ASSERT_EQ(stats.groups_size(), 1);
  EXPECT_GT(AllToAlls(stats), 0U);
  EXPECT_EQ(LogCount("session_handed_back"), 0);
  for (const auto& rank : ranks_) rank->Signal(SIGCONT);
  EXPECT_TRUE(AllHandedBack(2));
  EXPECT_TRUE(Eventually([&] { return AllToAlls(client_->Stats()) > AllToAlls(stats); }));

  ranks_.clear();
  EXPECT_TRUE(Eventually([&] { return manager.descriptors().empty(); })) << manager.descriptors().size();
}

// Two ranks in this process, whose all-to-alls need no daemon.
class StateLossTest : public DaemonDeathTest, public ::testing::WithParamInterface<std::string> {
 protected:
  struct Rank {
    std::unique_ptr<Client> client;
    std::unique_ptr<Group> group;
    std::unique_ptr<Window> window;
  };

  void OnBoth(const std::function<void(std::size_t)>& work) {
    std::thread other([&] { work(1); });
    work(0);
    other.join();
  }

  void Form() {
    OnBoth([&](std::size_t r) {
      auto client = Client::Connect({.runtime_dir = directory_.path() + "/run"});
      ASSERT_TRUE(client.ok()) << client.status();
      auto group = (*client)->Join({.name = "pair", .rank = static_cast<int>(r), .world_size = 2});
      ASSERT_TRUE(group.ok()) << group.status();
      auto window = (*group)->RegisterWindow("w", 2 * kRowBytes);
      ASSERT_TRUE(window.ok()) << window.status();
      pair_[r] = {*std::move(client), *std::move(group), *std::move(window)};
    });
  }

  void Run(char mark) {
    static constexpr std::int32_t kSplits[] = {1, 1};
    const View view = View::Contiguous(2, kRowBytes);
    OnBoth([&](std::size_t r) {
      const std::vector<char> input(2 * kRowBytes, static_cast<char>(mark + static_cast<char>(r)));
      const absl::Status status = pair_[r].group->AllToAll({input.data(), view}, {pair_[r].window.get(), 0, view},
                                                           Splits::Int32(kSplits, kSplits), Channel{0});
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(static_cast<char>(pair_[r].window->data()[kRowBytes]), mark + 1);
    });
  }

  static constexpr std::int64_t kRowBytes = 64;
  Rank pair_[2];
};

TEST_P(StateLossTest, IsSaidAndDataFlowsAndNewSessionsAreServed) {
  Form();
  KillDaemon();
  const std::string path = directory_.path() + "/run/state";
  if (GetParam() == "missing") {
    std::filesystem::remove(path);
  } else if (GetParam() == "truncated") {
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  } else {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(40);
    file.put('x');
  }
  StartDaemon();

  const bool refused = GetParam() != "missing";
  EXPECT_EQ(absl::StrContains(daemon_->log(), "state_refused"), refused) << daemon_->log();
  EXPECT_EQ(absl::StrContains(daemon_->log(), "state_missing"), !refused) << daemon_->log();
  EXPECT_EQ(std::filesystem::exists(path + ".refused"), refused);
  EXPECT_TRUE(Eventually([&] { return absl::IsAborted(pair_[0].client->status()); })) << pair_[0].client->status();
  EXPECT_THAT(std::string(pair_[0].client->status().message()), HasSubstr("state was lost"));
  Run('a');
  const auto next = Client::Connect({.runtime_dir = directory_.path() + "/run"});
  EXPECT_TRUE(next.ok()) << next.status();
  EXPECT_TRUE((*next)->RegisterBuffer({.size_bytes = 1, .device = Device::Host()}).ok());
  std::filesystem::remove(path + ".refused");
}

INSTANTIATE_TEST_SUITE_P(All, StateLossTest, ::testing::Values("missing", "truncated", "altered"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace a8a::testing
