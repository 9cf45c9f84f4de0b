// SessionService through the real sockets: every error that the proto names, and the life of a stream.
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/integration/daemon/peer_process.h"

namespace a8a::testing {
namespace {

using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::Ne;

class SessionServiceTest : public DaemonTest {
 protected:
  // The status of a stream whose first message is `hello`.
  grpc::Status AttachStatus(const v1::Hello& hello) { return Session(client_->session.get(), hello).Finish(); }

  // The status of a stream that starts with `first`.
  grpc::Status StreamStatus(const v1::AttachRequest& first) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    auto stream = client_->session->Attach(&context);
    stream->Write(first);
    v1::AttachResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish();
  }

  v1::Hello ResumeHello(std::uint64_t session_id) {
    v1::Hello hello = MakeHello();
    hello.set_resume_session_id(session_id);
    return hello;
  }
};

TEST_F(SessionServiceTest, WelcomeIsTheFirstMessageAndDescribesTheDaemon) {
  Session session(client_->session.get(), MakeHello("worker 0"));

  EXPECT_THAT(session.id(), Ne(0U));
  EXPECT_THAT(session.welcome().daemon_instance_id(), Ne(0U));
  EXPECT_FALSE(session.welcome().daemon_version().empty());
  ASSERT_EQ(session.welcome().devices_size(), 1);
  EXPECT_EQ(session.welcome().devices(0).name(), "host");
  EXPECT_EQ(session.welcome().devices(0).kind(), v1::DEVICE_KIND_HOST);
  EXPECT_GT(session.welcome().devices(0).granularity_bytes(), 0);
  EXPECT_GT(session.welcome().devices(0).pool_limit_bytes(), 0);
  EXPECT_THAT(session.Goodbye(), IsOk());
}

TEST_F(SessionServiceTest, EverySessionHasAnIdOfItsOwn) { EXPECT_NE(client_->Attach()->id(), client_->Attach()->id()); }

TEST_F(SessionServiceTest, AFirstMessageOtherThanHelloIsRefused) {
  v1::AttachRequest acknowledge;
  acknowledge.mutable_acknowledge()->set_sequence(1);
  v1::AttachRequest goodbye;
  goodbye.mutable_goodbye();

  EXPECT_THAT(StreamStatus(acknowledge), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(StreamStatus(goodbye), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(StreamStatus(v1::AttachRequest()), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(SessionServiceTest, ASecondHelloEndsTheStreamButNotTheSession) {
  Session session(client_->session.get(), MakeHello());
  v1::AttachRequest request;
  *request.mutable_hello() = MakeHello();
  session.Send(request);

  EXPECT_THAT(session.Finish(), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_EQ(client_->Stats().sessions_size(), 1);
}

TEST_F(SessionServiceTest, AnEmptyMessageEndsTheStream) {
  Session session(client_->session.get(), MakeHello());
  session.Send(v1::AttachRequest());

  EXPECT_THAT(session.Finish(), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
}

TEST_F(SessionServiceTest, BadClientNamesAreRefused) {
  EXPECT_THAT(AttachStatus(MakeHello(std::string(65, 'x'))), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(AttachStatus(MakeHello("a\nb")), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  EXPECT_THAT(client_->Attach(std::string(64, 'x'))->id(), Ne(0U));
}

TEST_F(SessionServiceTest, TheProtocolVersionMustBeTheDaemons) {
  v1::Hello hello = MakeHello();
  hello.set_protocol_version(0);
  EXPECT_THAT(AttachStatus(hello), HasCode(grpc::StatusCode::INVALID_ARGUMENT));
  hello.set_protocol_version(77);
  EXPECT_THAT(AttachStatus(hello), HasCodeAndText(grpc::StatusCode::FAILED_PRECONDITION, "77"));
}

TEST_F(SessionServiceTest, AcknowledgementsAreTaken) {
  Session session(client_->session.get(), MakeHello());
  v1::AttachRequest request;
  request.mutable_acknowledge()->set_sequence(1);

  EXPECT_TRUE(session.Send(request));
  EXPECT_TRUE(session.Send(request));

  EXPECT_THAT(session.Goodbye(), IsOk());
}

TEST_F(SessionServiceTest, GoodbyeFreesWhatTheSessionHolds) {
  Session session(client_->session.get(), MakeHello());
  MustRegisterBuffer(session.id(), 1 << 20);
  ASSERT_EQ(client_->Stats().devices(0).leased_bytes(), 1 << 20);

  ASSERT_THAT(session.Goodbye(), IsOk());

  EXPECT_EQ(client_->Stats().sessions_size(), 0);
  EXPECT_EQ(client_->Stats().devices(0).leased_bytes(), 0);
  EXPECT_EQ(client_->Stats().daemon().sessions_died_total(), 0U);
}

TEST_F(SessionServiceTest, ABrokenStreamFreesNothingAndCanBeResumed) {
  auto session = std::make_unique<Session>(client_->session.get(), MakeHello());
  const std::uint64_t id = session->id();
  const v1::RegisterBufferResponse lease = MustRegisterBuffer(id, 1 << 20);
  session.reset();
  ASSERT_TRUE(Eventually([&] { return !client_->Stats().sessions(0).stream_open(); }));
  EXPECT_EQ(client_->Stats().sessions(0).leased_bytes(), 1 << 20);

  Session resumed(client_->session.get(), ResumeHello(id));

  EXPECT_EQ(resumed.id(), id);
  EXPECT_TRUE(client_->Stats().sessions(0).stream_open());
  v1::ReleaseBufferRequest release;
  v1::ReleaseBufferResponse released;
  release.set_session_id(id);
  release.set_buffer_id(lease.buffer().buffer_id());
  release.set_generation(lease.buffer().generation());
  EXPECT_THAT(Call(client_->buffer.get(), &v1::BufferService::Stub::ReleaseBuffer, release, &released), IsOk());
  EXPECT_THAT(resumed.Goodbye(), IsOk());
}

TEST_F(SessionServiceTest, AResumedSessionGetsEvents) {
  auto session = std::make_unique<Session>(client_->session.get(), MakeHello());
  const std::uint64_t id = session->id();
  session.reset();
  ASSERT_TRUE(Eventually([&] { return !client_->Stats().sessions(0).stream_open(); }));
  Session resumed(client_->session.get(), ResumeHello(id));

  ASSERT_THAT(Drain(), IsOk());

  const std::optional<v1::AttachResponse> event = resumed.Read();
  ASSERT_TRUE(event.has_value());
  EXPECT_TRUE(event->has_draining());
  EXPECT_EQ(event->sequence(), 2U) << "the welcome was the stream's first message";
}

TEST_F(SessionServiceTest, ResumingAnUnknownSessionIsNotFound) {
  EXPECT_THAT(AttachStatus(ResumeHello(12345)), HasCode(grpc::StatusCode::NOT_FOUND));
}

TEST_F(SessionServiceTest, ResumingAnOpenStreamIsRefused) {
  Session session(client_->session.get(), MakeHello());

  EXPECT_THAT(AttachStatus(ResumeHello(session.id())), HasCode(grpc::StatusCode::ALREADY_EXISTS));
}

TEST_F(SessionServiceTest, ResumingAnotherProcessesSessionIsDenied) {
  PeerProcess peer(daemon_->grpc_address());
  const std::string attached = peer.Command("attach");
  ASSERT_EQ(attached.substr(0, 3), "OK ") << attached;
  ASSERT_EQ(peer.Command("break"), "OK");
  ASSERT_TRUE(Eventually([&] { return !client_->Stats().sessions(0).stream_open(); }));

  EXPECT_THAT(AttachStatus(ResumeHello(std::stoull(attached.substr(3)))), HasCode(grpc::StatusCode::PERMISSION_DENIED));
}

TEST_F(SessionServiceTest, EventsCountFromOneAndComeInOrder) {
  Session session(client_->session.get(), MakeHello());

  ASSERT_THAT(Drain(), IsOk());
  ASSERT_THAT(Undrain(), IsOk());

  const std::optional<v1::AttachResponse> draining = session.Read();
  const std::optional<v1::AttachResponse> undrained = session.Read();
  ASSERT_TRUE(draining.has_value() && undrained.has_value());
  EXPECT_TRUE(draining->has_draining());
  EXPECT_EQ(draining->sequence(), 2U);
  EXPECT_TRUE(undrained->has_undrained());
  EXPECT_EQ(undrained->sequence(), 3U);
}

TEST_F(SessionServiceTest, ADrainingDaemonTakesNoSession) {
  ASSERT_THAT(Drain(), IsOk());

  EXPECT_THAT(AttachStatus(MakeHello()), HasCode(grpc::StatusCode::UNAVAILABLE));

  ASSERT_THAT(Undrain(), IsOk());
  EXPECT_THAT(client_->Attach()->id(), Ne(0U));
}

TEST_F(SessionServiceTest, ARevokedSessionEndsWithAborted) {
  Session session(client_->session.get(), MakeHello());
  v1::RevokeRequest request;
  request.set_session_id(session.id());

  ASSERT_THAT(Revoke(request), IsOk());

  EXPECT_THAT(session.Finish(), HasCode(grpc::StatusCode::ABORTED));
  EXPECT_EQ(client_->Stats().sessions_size(), 0);
}

class SessionLimitTest : public SessionServiceTest {
 protected:
  SessionLimitTest() { flags_ = {"--session-max=2"}; }
};

TEST_F(SessionLimitTest, TheLimitIsNamedAndASlotComesFreeWithGoodbye) {
  Session first(client_->session.get(), MakeHello());
  Session second(client_->session.get(), MakeHello());

  EXPECT_THAT(AttachStatus(MakeHello()), HasCodeAndText(grpc::StatusCode::RESOURCE_EXHAUSTED, "2"));

  ASSERT_THAT(first.Goodbye(), IsOk());
  EXPECT_THAT(client_->Attach()->id(), Ne(0U));
}

}  // namespace
}  // namespace a8a::testing
