// Processes of different uids against one daemon: who is let in, what one has no right to of another's, and what one
// can hold or do before it is refused.
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/peer_process.h"

namespace a8a::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Any uids that are neither root nor the test's; they need no entry in /etc/passwd. Each is also its own gid.
constexpr uid_t kUid = 54321;
constexpr uid_t kOtherUid = 54322;
constexpr gid_t kGroup = 54400;

// A daemon that every uid can reach, with a config file.
class UidsTest : public DaemonTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "taking other uids needs root";
    Configure({});
    flags_.insert(flags_.end(), {"--socket-mode=0666", "--config=" + config_path_});
    Restart();
  }

  void Restart() {
    StartDaemon(flags_);
    ASSERT_EQ(::chmod(std::filesystem::path(daemon_->runtime_dir()).parent_path().c_str(), 0711), 0);
  }
  void Configure(const std::vector<std::string>& lines) {
    std::ofstream(config_path_) << absl::StrJoin(lines, "\n") << "\n";
  }
  void Reload(const std::vector<std::string>& lines) {
    Configure(lines);
    v1::ReloadConfigResponse response;
    ASSERT_THAT(Call(client_->admin.get(), &v1::AdminService::Stub::ReloadConfig, v1::ReloadConfigRequest(), &response),
                IsOk());
    ASSERT_EQ(response.needs_restart_size(), 0);
  }

  std::unique_ptr<PeerProcess> Start(const std::string& credentials) {
    return std::make_unique<PeerProcess>(daemon_->grpc_address(), credentials);
  }
  std::unique_ptr<PeerProcess> Start(uid_t uid) { return Start(absl::StrCat(uid)); }
  // With a session, whose id is `*session`.
  std::unique_ptr<PeerProcess> Attach(uid_t uid, std::string* session) {
    auto peer = Start(uid);
    *session = Result(peer->Command("attach"));
    return peer;
  }
  static std::string Result(const std::string& answer) {
    EXPECT_THAT(answer, StartsWith("OK "));
    return answer.substr(0, 3) == "OK " ? answer.substr(3) : "0";
  }
  std::string Redeem(PeerProcess* peer, const std::string& session, const std::string& ticket) {
    return peer->Command(absl::StrCat("redeem ", daemon_->fd_socket_path(), " ", session, " ", ticket));
  }

  const TempDir config_directory_;
  const std::string config_path_ = config_directory_.path() + "/a8a.toml";
};

// --- Identity and rights

TEST_F(UidsTest, TheKernelSaysWhoIsBehindASession) {
  std::string session;
  const auto peer = Attach(kUid, &session);

  const v1::Stats stats = client_->Stats();

  ASSERT_EQ(stats.sessions_size(), 1);
  EXPECT_EQ(stats.sessions(0).uid(), kUid);
  EXPECT_EQ(stats.sessions(0).pid(), peer->pid());
}

TEST_F(UidsTest, ARankIsClaimedOnceAndWithTheGroupsSecret) {
  std::string first_session;
  std::string second_session;
  std::string other_session;
  const auto first = Attach(kUid, &first_session);
  const auto second = Attach(kUid, &second_session);
  const auto other = Attach(kOtherUid, &other_session);
  first->Begin("join " + first_session + " g 0 2 secret");
  ASSERT_TRUE(daemon_->WaitForLog("rank_joined"));

  EXPECT_EQ(second->Command("join " + second_session + " g 0 2 secret"), "ALREADY_EXISTS");
  EXPECT_EQ(second->Command("join " + second_session + " g 1 2 wrong"), "PERMISSION_DENIED");
  EXPECT_EQ(second->Command("join " + first_session + " g 1 2 secret"), "PERMISSION_DENIED") << "another's session";
  EXPECT_THAT(other->Command("join " + other_session + " g 0 1 wrong"), StartsWith("OK ")) << "a group of its own";

  EXPECT_THAT(second->Command("join " + second_session + " g 1 2 secret"), StartsWith("OK "));
  EXPECT_THAT(first->Answer(), StartsWith("OK "));
}

TEST_F(UidsTest, ATicketIsForItsSessionOnceAndInTime) {
  flags_.emplace_back("--ticket-lifetime=200ms");
  Restart();
  std::string session;
  std::string other_session;
  const auto peer = Attach(kUid, &session);
  const auto other = Attach(kOtherUid, &other_session);
  const std::string buffer = Result(peer->Command("register " + session + " 4096"));
  const auto ticket = [&] { return Result(peer->Command("ticket " + session + " " + buffer)); };

  const std::string late = ticket();
  // The passing of time is what is tested.
  absl::SleepFor(absl::Milliseconds(250));
  EXPECT_EQ(Redeem(peer.get(), session, late), "NOT_FOUND");
  const std::string good = ticket();
  EXPECT_EQ(Redeem(other.get(), other_session, good), "PERMISSION_DENIED") << "by another's session";
  EXPECT_EQ(Redeem(other.get(), session, good), "PERMISSION_DENIED") << "under another's name";
  EXPECT_EQ(Redeem(peer.get(), session, good), "OK");
  EXPECT_EQ(Redeem(peer.get(), session, good), "NOT_FOUND");
}

TEST_F(UidsTest, AnothersSessionBufferGroupAndStatsAreDenied) {
  std::string session;
  std::string own;
  const auto holder = Attach(kUid, &session);
  const auto stranger = Attach(kOtherUid, &own);
  const std::string buffer = Result(holder->Command("register " + session + " 4096"));
  const std::string group = Result(holder->Command("join " + session + " g 0 1"));

  for (const std::string& as : {session, own}) {
    EXPECT_EQ(stranger->Command("get-buffer " + as + " " + buffer), "PERMISSION_DENIED") << as;
    EXPECT_EQ(stranger->Command("release " + as + " " + buffer + " 1"), "PERMISSION_DENIED") << as;
    EXPECT_EQ(stranger->Command("window " + as + " " + group + " w 4096"), "PERMISSION_DENIED") << as;
    EXPECT_EQ(stranger->Command("release-window " + as + " " + group), "PERMISSION_DENIED") << as;
    EXPECT_EQ(stranger->Command("abort " + as + " " + group), "PERMISSION_DENIED") << as;
    EXPECT_EQ(stranger->Command("leave " + as + " " + group), "PERMISSION_DENIED") << as;
  }
  EXPECT_EQ(stranger->Command("resume " + session), "PERMISSION_DENIED");
  EXPECT_EQ(stranger->Command("get-group " + group), "PERMISSION_DENIED");
  EXPECT_EQ(stranger->Command("stats-of-group " + group), "OK 0");
  EXPECT_EQ(holder->Command("stats-of-group " + group), "OK 1");
  EXPECT_EQ(holder->Command("get-buffer " + session + " " + buffer), "OK");
}

// --- Who is let in

TEST_F(UidsTest, AllowedUidsAndGidsAreLetInOnBothSocketsAndNobodyElse) {
  Reload({absl::StrCat("allowed_uids = [", kUid, "]"), absl::StrCat("allowed_gids = [", kGroup, "]")});

  std::string session;
  const auto listed = Attach(kUid, &session);
  EXPECT_EQ(Redeem(listed.get(), session, std::string(32, '0')), "NOT_FOUND") << "served: there is no such ticket";
  EXPECT_THAT(Start(absl::StrCat(kOtherUid, ":", kGroup))->Command("attach"), StartsWith("OK ")) << "by its gid";
  EXPECT_THAT(Start(absl::StrCat(kOtherUid, ":1:", kGroup))->Command("attach"), StartsWith("OK ")) << "by a group";
  EXPECT_THAT(Start("-")->Command("attach"), StartsWith("OK ")) << "root";

  const auto kept_out = Start(kOtherUid);
  EXPECT_EQ(kept_out->Command("attach"), "UNAVAILABLE");
  EXPECT_EQ(Redeem(kept_out.get(), session, std::string(32, '0')), "PERMISSION_DENIED");
  EXPECT_TRUE(daemon_->WaitForLog("uid 54322, gid 54322 is in neither allowed_uids nor allowed_gids"));

  Reload({});
  EXPECT_THAT(Start(kOtherUid)->Command("attach"), StartsWith("OK "));
}

TEST_F(UidsTest, MembersOfAnAdminGroupAdministrateAndAreLetIn) {
  Reload({absl::StrCat("admin_gids = [", kGroup, "]"), absl::StrCat("allowed_uids = [", kUid, "]")});
  std::string session;
  const auto user = Attach(kUid, &session);

  const auto administrator = Start(absl::StrCat(kOtherUid, ":1:", kGroup));

  EXPECT_EQ(user->Command("revoke " + session), "PERMISSION_DENIED");
  EXPECT_EQ(administrator->Command("count-sessions"), "OK 1");
  EXPECT_EQ(administrator->Command("revoke " + session), "OK");
  Reload({});
  EXPECT_EQ(administrator->Command("drain"), "PERMISSION_DENIED") << "a change holds for open connections too";
}

// --- Quotas. Root's own, because messages are looked at; another uid goes on.

TEST_F(UidsTest, EachQuotaIsRefusedWithNumberAndLimitAndCanBeRaised) {
  Reload({"session_max_per_uid = 2", "group_max_per_uid = 1", "window_max_per_uid = 1", "buffer_max_per_uid = 4",
          "bytes_max_per_uid = \"1MiB\""});
  const auto exhausted = [](const std::string& text) {
    return HasCodeAndText(grpc::StatusCode::RESOURCE_EXHAUSTED, text);
  };
  const std::unique_ptr<Session> first = client_->Attach();
  const std::unique_ptr<Session> second = client_->Attach();
  const std::uint64_t group_id = MustFormGroup("g", {first.get()}).group().group_id();
  v1::JoinGroupResponse join;
  v1::RegisterWindowResponse window;
  v1::RegisterBufferResponse lease;
  ASSERT_THAT(RegisterWindow(first->id(), group_id, "w", 4096, &window), IsOk());

  EXPECT_THAT(client_->Attach()->Finish(), exhausted("uid 0 has 2 sessions; its limit is 2"));
  EXPECT_THAT(Join(JoinRequest(*first, "h", 0, 1), &join), exhausted("uid 0 has 1 groups; its limit is 1"));
  EXPECT_THAT(RegisterWindow(first->id(), group_id, "x", 4096, &window), exhausted("uid 0 has 1 windows"));
  EXPECT_THAT(RegisterBuffer(first->id(), 1 << 20, &lease), exhausted("its limit is 1048576 (bytes_max_per_uid)"));
  MustRegisterBuffer(first->id(), 4096);
  MustRegisterBuffer(second->id(), 4096);
  EXPECT_THAT(RegisterBuffer(first->id(), 4096, &lease), exhausted("uid 0 has 4 buffers; its limit is 4"));

  std::string session;
  const auto other = Attach(kOtherUid, &session);
  EXPECT_THAT(other->Command("register " + session + " 4096"), StartsWith("OK "));
  Reload({});
  EXPECT_NE(client_->Attach()->id(), 0U);
  EXPECT_THAT(RegisterBuffer(first->id(), 1 << 20, &lease), IsOk());
}

TEST_F(UidsTest, DescriptorsAreCountedWithConnections) {
  Reload({"descriptor_max_per_uid = 6"});
  std::string session;
  const auto peer = Attach(kUid, &session);  // 3: a connection, its process, the session's

  for (int i = 0; i < 3; ++i) EXPECT_THAT(peer->Command("register " + session + " 4096"), StartsWith("OK ")) << i;

  EXPECT_EQ(peer->Command("register " + session + " 4096"), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(Redeem(peer.get(), session, std::string(32, '0')), "RESOURCE_EXHAUSTED") << "a connection to fd.sock";
  EXPECT_EQ(Start(kUid)->Command("attach"), "UNAVAILABLE");
  EXPECT_TRUE(daemon_->WaitForLog("uid 54321 has 6 of the daemon's descriptors and needs 2 more; its limit is 6"));
  EXPECT_THAT(Start(kOtherUid)->Command("attach"), StartsWith("OK "));
}

TEST_F(UidsTest, RequestsAboveTheRateWaitAndThenAreRefused) {
  Reload({"request_rate_max_per_uid = 50"});
  std::string session;
  const auto peer = Attach(kUid, &session);

  // 5 at once and 25 in half a second, less those of the start; all others are refused.
  const std::string answer = peer->Command("storm 200");

  int served = 0;
  int refused = 0;
  ASSERT_EQ(std::sscanf(answer.c_str(), "OK %d %d", &served, &refused), 2) << answer;
  EXPECT_GE(served, 20);
  EXPECT_EQ(served + refused, 200);
  EXPECT_GT(refused, 50);
  EXPECT_TRUE(daemon_->WaitForLog("uid 54321 makes more than 50 requests a second, its limit"));
  EXPECT_THAT(Start(kOtherUid)->Command("storm 20"), "OK 20 0") << "another uid, served or made to wait";
  EXPECT_THAT(peer->Command("register " + session + " 4096"), StartsWith("OK ")) << "it may go on";
  for (int i = 0; i < 50; ++i) ASSERT_EQ(client_->Stats().sessions_size(), 1) << "administrators are not counted";
}

TEST_F(UidsTest, RequestsOnFdSockAboveTheRateWaitAndAreAnswered) {
  Reload({"request_rate_max_per_uid = 20"});
  std::string session;
  const auto peer = Attach(kUid, &session);
  const absl::Time start = absl::Now();

  // Each is one, and the end of its connection is another: 12 at once and in half a second, 48 in turn.
  for (int i = 0; i < 30; ++i) EXPECT_EQ(Redeem(peer.get(), session, std::string(32, '0')), "NOT_FOUND") << i;

  EXPECT_GE(absl::Now() - start, absl::Seconds(1));
}

// --- Floods: every kind of a8a-bench flood, small; the times that it measures are not looked at.

TEST_F(UidsTest, FloodsAreRefusedAndLeaveNothing) {
  Reload({"connection_max_per_uid = 30", "session_max_per_uid = 10", "group_max_per_uid = 5", "window_max_per_uid = 8",
          "buffer_max_per_uid = 20", "request_rate_max_per_uid = 200"});
  const std::string command =
      absl::StrCat(A8A_BENCH_PATH, " flood --quiet --json - --milliseconds 100 --connects 200 --idle-connections 40",
                   " --runtime-dir ", daemon_->runtime_dir(), " 2>", config_directory_.path(), "/err");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"), &::pclose);
  std::string output;
  std::array<char, 4096> chunk;
  while (const std::size_t size = std::fread(chunk.data(), 1, chunk.size(), pipe.get())) {
    output.append(chunk.data(), size);
  }
  std::ostringstream errors;
  errors << std::ifstream(config_directory_.path() + "/err").rdbuf();

  const auto report = nlohmann::json::parse(output, nullptr, /*allow_exceptions=*/false);

  ASSERT_TRUE(report.is_object()) << output << errors.str();
  ASSERT_EQ(report["floods"].size(), 8U);
  for (const auto& flood : report["floods"]) EXPECT_TRUE(flood["recovered"]) << flood.dump(1) << daemon_->log();
  const auto flood = [&](const std::string& name) -> nlohmann::json {
    for (const auto& candidate : report["floods"]) {
      if (candidate["flood"] == name) return candidate;
    }
    return {};
  };
  EXPECT_GE(flood("connects").value("connects", 0), 200);
  EXPECT_GE(flood("idle").value("closed", 0), 10) << "40 on each socket, of which 30 may stay";
  EXPECT_GE(flood("descriptors").value("closed", 0), 10);
  // Each flood lasts for 100 ms, in which a busy machine does not do much.
  EXPECT_GE(flood("slow")["codes"].value("RESOURCE_EXHAUSTED", 0) + flood("slow")["codes"].value("UNAVAILABLE", 0), 10)
      << flood("slow").dump(1);
  EXPECT_GE(flood("malformed")["codes"].value("INVALID_ARGUMENT", 0), 3);
  EXPECT_GE(flood("malformed")["codes"].value("RESOURCE_EXHAUSTED", 0), 2);
  EXPECT_GE(flood("malformed").value("closed", 0), 2);
  EXPECT_GE(flood("junk-descriptors")["codes"].value("INVALID_ARGUMENT", 0), 1);
  EXPECT_GE(flood("requests")["codes"].value("RESOURCE_EXHAUSTED", 0), 10) << flood("requests").dump(1);
  EXPECT_GE(flood("hoard")["codes"].value("RESOURCE_EXHAUSTED", 0), 4);
  for (const char* event : {"connection_refused", "fd_request_malformed", "request_refused"}) {
    EXPECT_TRUE(daemon_->WaitForLog(event)) << event;
  }
#if !defined(__SANITIZE_THREAD__)
  // In 100 ms of it, the daemon does not always come to run out of descriptors.
  EXPECT_TRUE(daemon_->WaitForLog("connection_shed"));
#endif
}

}  // namespace
}  // namespace a8a::testing
