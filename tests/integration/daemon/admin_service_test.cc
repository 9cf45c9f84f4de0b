// AdminService through the real sockets, and who may call it.
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/peer_process.h"

namespace a8a::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class AdminServiceTest : public DaemonTest {
 protected:
  grpc::Status Reload(v1::ReloadConfigResponse* response) {
    return Call(client_->admin.get(), &v1::AdminService::Stub::ReloadConfig, v1::ReloadConfigRequest(), response);
  }
};

TEST_F(AdminServiceTest, DrainTellsWhatIsLeftAndUndrainTakesWorkAgain) {
  const std::unique_ptr<Session> session = client_->Attach();
  MustFormGroup("g", {session.get()});
  v1::DrainResponse response;

  ASSERT_THAT(Drain(absl::Hours(24), &response), IsOk());

  EXPECT_EQ(response.group_count(), 1);
  EXPECT_EQ(response.session_count(), 1);
  EXPECT_TRUE(client_->Stats().daemon().draining());
  const std::optional<v1::AttachResponse> event = session->Read();
  ASSERT_TRUE(event.has_value() && event->has_draining());
  EXPECT_EQ(event->draining().timeout().seconds(), 24 * 3600);
  ASSERT_THAT(Undrain(), IsOk());
  EXPECT_FALSE(client_->Stats().daemon().draining());
  MustFormGroup("h", {session.get()});
}

TEST_F(AdminServiceTest, DrainTimeoutsOutOfRangeAreInvalid) {
  v1::DrainResponse response;

  EXPECT_THAT(Drain(absl::Seconds(-1), &response), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(Drain(absl::Hours(24) + absl::Seconds(1), &response), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_FALSE(client_->Stats().daemon().draining());
}

TEST_F(AdminServiceTest, GroupsEndWhenTheDrainTimeoutHasPassed) {
  const std::unique_ptr<Session> session = client_->Attach();
  MustFormGroup("g", {session.get()});
  v1::DrainResponse response;

  ASSERT_THAT(Drain(absl::Milliseconds(50), &response), IsOk());

  ASSERT_TRUE(session->Read()->has_draining());
  const std::optional<v1::AttachResponse> event = session->Read();
  ASSERT_TRUE(event.has_value() && event->has_group_aborted());
  EXPECT_EQ(event->group_aborted().reason(), v1::END_REASON_DRAINED);
  EXPECT_EQ(event->group_aborted().rank(), -1);
}

class StoppingTest : public AdminServiceTest {
 protected:
  StoppingTest() { flags_ = {"--drain-timeout=2s"}; }
};

TEST_F(StoppingTest, UndrainIsRefused) {
  const std::unique_ptr<Session> session = client_->Attach();
  MustFormGroup("g", {session.get()});
  daemon_->Signal(SIGTERM);
  ASSERT_TRUE(session->Read()->has_draining());

  EXPECT_THAT(Undrain(), HasCode(grpc::StatusCode::FAILED_PRECONDITION));
  EXPECT_EQ(daemon_->Wait()->code, 0);
}

TEST_F(AdminServiceTest, RevokeNeedsATargetThatExists) {
  v1::RevokeRequest session;
  session.set_session_id(12345);
  v1::RevokeRequest group;
  group.set_group_id(12345);
  v1::RevokeRequest buffer;
  buffer.set_buffer_id(12345);

  EXPECT_THAT(Revoke(v1::RevokeRequest()), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(Revoke(session), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Revoke(group), HasCode(grpc::StatusCode::NOT_FOUND));
  EXPECT_THAT(Revoke(buffer), HasCode(grpc::StatusCode::NOT_FOUND));
}

TEST_F(AdminServiceTest, ARevokedBufferIsGoneAndItsHolderTold) {
  const std::unique_ptr<Session> session = client_->Attach();
  const v1::RegisterBufferResponse lease = MustRegisterBuffer(session->id(), 1 << 20);
  v1::RevokeRequest request;
  request.set_buffer_id(lease.buffer().buffer_id());

  ASSERT_THAT(Revoke(request), IsOk());

  const std::optional<v1::AttachResponse> event = session->Read();
  ASSERT_TRUE(event.has_value() && event->has_buffer_revoked());
  EXPECT_EQ(event->buffer_revoked().buffer_id(), lease.buffer().buffer_id());
  EXPECT_EQ(event->buffer_revoked().generation(), lease.buffer().generation());
  EXPECT_EQ(event->buffer_revoked().reason(), v1::END_REASON_REVOKED);
  EXPECT_EQ(FdClient(daemon_->fd_socket_path()).Redeem(session->id(), lease.ticket())->reply.code,
            grpc::StatusCode::NOT_FOUND)
      << "a revoked lease has no tickets";
}

TEST_F(AdminServiceTest, ABufferOfAGroupIsRevokedWithItsGroupOnly) {
  const std::unique_ptr<Session> session = client_->Attach();
  const v1::JoinGroupResponse group = MustFormGroup("g", {session.get()});
  v1::RevokeRequest buffer;
  buffer.set_buffer_id(group.flags(0).buffer().buffer_id());
  v1::RevokeRequest whole_group;
  whole_group.set_group_id(group.group().group_id());

  EXPECT_THAT(Revoke(buffer), HasCode(grpc::StatusCode::FAILED_PRECONDITION));
  ASSERT_THAT(Revoke(whole_group), IsOk());
  const std::optional<v1::AttachResponse> event = session->Read();
  ASSERT_TRUE(event.has_value() && event->has_group_aborted());
  EXPECT_EQ(event->group_aborted().reason(), v1::END_REASON_REVOKED);
  EXPECT_THAT(Revoke(whole_group), HasCode(grpc::StatusCode::FAILED_PRECONDITION)) << "it has ended already";
}

TEST_F(AdminServiceTest, ReloadWithoutAConfigFileIsAFailedPrecondition) {
  v1::ReloadConfigResponse response;

  EXPECT_THAT(Reload(&response), HasCode(grpc::StatusCode::FAILED_PRECONDITION));
}

// A daemon with a config file.
class ReloadConfigTest : public AdminServiceTest {
 protected:
  void SetUp() override {
    Write("log_level = \"error\"\nsession_max = 5\n");
    flags_ = {"--config=" + path_};
    AdminServiceTest::SetUp();
  }
  void Write(const std::string& text) { std::ofstream(path_) << text; }

  const TempDir config_directory_;
  const std::string path_ = config_directory_.path() + "/a8a.toml";
};

TEST_F(ReloadConfigTest, LiveOptionsApplyAndTheOthersAreNamed) {
  Write("log_level = \"info\"\nsession_max = 6\n");
  v1::ReloadConfigResponse response;

  ASSERT_THAT(Reload(&response), IsOk());

  EXPECT_THAT(response.applied(), ElementsAre("log_level"));
  EXPECT_THAT(response.needs_restart(), ElementsAre("session_max"));
  EXPECT_TRUE(daemon_->WaitForLog("config_reloaded")) << "info events are logged from now on";
}

TEST_F(ReloadConfigTest, AFileWithAnErrorChangesNothing) {
  Write("log_level = \"info\"\n\nsession_max = -1\n");
  v1::ReloadConfigResponse response;

  EXPECT_THAT(Reload(&response),
              HasCodeAndText(grpc::StatusCode::INVALID_ARGUMENT, absl::StrCat(path_, ":3: session_max: \"-1\"")));
  Write("log_level = \"error\"\nsession_max = 5\n");
  ASSERT_THAT(Reload(&response), IsOk());
  EXPECT_THAT(response.applied(), IsEmpty());
}

TEST_F(ReloadConfigTest, SighupReloadsToo) {
  Write("log_level = \"info\"\n");

  daemon_->Signal(SIGHUP);

  EXPECT_TRUE(daemon_->WaitForLog("config_reloaded"));
}

TEST_F(ReloadConfigTest, SighupWithAnErrorIsLoggedAndSurvived) {
  Write("nonsense = 1\n");

  daemon_->Signal(SIGHUP);

  EXPECT_TRUE(daemon_->WaitForLog("config_refused"));
  EXPECT_TRUE(daemon_->WaitForLog("a8a.toml:1: nonsense: unknown key"));
  EXPECT_NE(client_->Attach()->id(), 0U);
}

}  // namespace
}  // namespace a8a::testing
