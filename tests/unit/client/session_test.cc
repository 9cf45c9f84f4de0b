// The session's life through the public Client, against a daemon that behaves as badly as a test wants.
#include <string>
#include <utility>

#include "a8a/client.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/fakes/fake_session_server.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace a8a {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using testing::FakeSessionServer;
using ::testing::HasSubstr;

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override { server_.Start(); }

  absl::StatusOr<std::unique_ptr<Client>> Connect(absl::Duration timeout = absl::Seconds(30)) const {
    return Client::Connect({.runtime_dir = dir_.path(), .client_name = "worker", .timeout = timeout});
  }

  testing::TempDir dir_;
  FakeSessionServer server_{dir_.path()};
};

TEST_F(SessionTest, HelloCarriesNameAndProtocolVersion) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  ASSERT_EQ(server_.hellos().size(), 1U);
  EXPECT_EQ(server_.hellos()[0].client_name(), "worker");
  EXPECT_EQ(server_.hellos()[0].protocol_version(), 1U);
  EXPECT_EQ(server_.hellos()[0].resume_session_id(), 0U);
  EXPECT_EQ(client->session_id(), FakeSessionServer::kSessionId);
}

TEST_F(SessionTest, ARefusalComesBackWithItsCodeAndText) {
  server_.AnswerHelloWith({grpc::StatusCode::FAILED_PRECONDITION, "protocol_version 1; the daemon speaks 2"});

  EXPECT_THAT(Connect(), StatusIs(StatusCode::kFailedPrecondition, "protocol_version 1; the daemon speaks 2"));
}

TEST_F(SessionTest, ADaemonThatSaysNothingIsADeadlineThatNamesTheSocket) {
  server_.IgnoreHello();

  const absl::Time start = absl::Now();
  EXPECT_THAT(Connect(absl::Milliseconds(200)),
              StatusIs(StatusCode::kDeadlineExceeded, HasSubstr(dir_.path() + "/a8a.sock")));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

TEST_F(SessionTest, DestructionSaysGoodbye) {
  { A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect()); }

  EXPECT_EQ(server_.goodbye_count(), 1);
}

TEST_F(SessionTest, DestructionIsBoundedWhenTheDaemonIgnoresGoodbye) {
  A8A_ASSERT_OK_AND_ASSIGN(auto client, Connect());
  server_.IgnoreGoodbye();

  const absl::Time start = absl::Now();
  client.reset();

  EXPECT_EQ(server_.goodbye_count(), 1);
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

TEST_F(SessionTest, DrainEventsAreSeenAndAcknowledged) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  v1::AttachResponse draining;
  draining.mutable_draining();
  v1::AttachResponse undrained;
  undrained.mutable_undrained();

  server_.Send(draining);
  EXPECT_TRUE(Eventually([&] { return client->draining(); }));
  server_.Send(undrained);
  EXPECT_TRUE(Eventually([&] { return !client->draining(); }));
  EXPECT_TRUE(Eventually([&] { return server_.acknowledged() == 3; })) << "welcome, draining, undrained";
}

TEST_F(SessionTest, ABrokenStreamIsTakenUpAgain) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  server_.EndStream({grpc::StatusCode::UNAVAILABLE, "broken"});

  EXPECT_TRUE(Eventually([&] { return server_.hellos().size() == 2; }));
  EXPECT_EQ(server_.hellos()[1].resume_session_id(), FakeSessionServer::kSessionId);
  EXPECT_TRUE(Eventually([&] { return client->status().ok(); }));
}

TEST_F(SessionTest, WhileTheDaemonIsAwayTheSessionIsUnavailableAndThenBack) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  server_.Stop();

  EXPECT_TRUE(Eventually([&] { return !client->status().ok(); }));
  EXPECT_THAT(client->status(), StatusIs(StatusCode::kUnavailable, HasSubstr(dir_.path() + "/a8a.sock")));
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 1, .name = "b"}),
              StatusIs(StatusCode::kUnavailable, HasSubstr("buffer \"b\"")));
  server_.Start();
  EXPECT_TRUE(Eventually([&] { return client->status().ok(); }));
  EXPECT_EQ(server_.hellos().back().resume_session_id(), FakeSessionServer::kSessionId);
}

TEST_F(SessionTest, TriesAgainWhileTheOldStreamStillCountsAsOpen) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  server_.AnswerHelloWith({grpc::StatusCode::ALREADY_EXISTS, "the stream of session 41 is still open"});

  server_.EndStream({grpc::StatusCode::UNAVAILABLE, "broken"});

  ASSERT_TRUE(Eventually([&] { return server_.hellos().size() >= 3; }));
  EXPECT_THAT(client->status(), StatusIs(StatusCode::kUnavailable));
  server_.AnswerHelloWith(grpc::Status::OK);
  EXPECT_TRUE(Eventually([&] { return client->status().ok(); }));
}

TEST_F(SessionTest, ASessionThatTheDaemonNoLongerKnowsIsAborted) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  server_.AnswerHelloWith({grpc::StatusCode::NOT_FOUND, "session 41 is unknown"});

  server_.EndStream({grpc::StatusCode::UNAVAILABLE, "restart"});

  EXPECT_TRUE(Eventually([&] { return absl::IsAborted(client->status()); }));
  EXPECT_THAT(client->status(),
              StatusIs(StatusCode::kAborted, AllOf(HasSubstr("session 41"), HasSubstr("session 41 is unknown"))));
  EXPECT_THAT(client->RegisterBuffer({.size_bytes = 1}), StatusIs(StatusCode::kNotFound));
  EXPECT_EQ(server_.hellos().size(), 2U) << "it does not ask again";
}

TEST_F(SessionTest, ARevokedSessionIsAbortedAtOnce) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  server_.EndStream({grpc::StatusCode::ABORTED, "revoked by an administrator"});

  EXPECT_TRUE(Eventually([&] { return absl::IsAborted(client->status()); }));
  EXPECT_EQ(server_.hellos().size(), 1U) << "it does not attach again";
}

TEST_F(SessionTest, DestructionWhileTheDaemonIsAwayIsPrompt) {
  A8A_ASSERT_OK_AND_ASSIGN(auto client, Connect());
  server_.Stop();
  ASSERT_TRUE(Eventually([&] { return !client->status().ok(); }));

  const absl::Time start = absl::Now();
  client.reset();

  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

// gRPC says so of calls that come to a server as it stops. It was passed on, and releases that met it were lost.
TEST_F(SessionTest, ACallThatAStoppingDaemonCancelsIsUnavailable) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  EXPECT_THAT(client->Join({.name = "g"}), StatusIs(StatusCode::kUnavailable, HasSubstr("has just stopped")));
}

TEST_F(SessionTest, ADeviceWithoutADataPlaneIsUnimplemented) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  // Where there is a GPU, it is not the daemon's: the fake's has no UUID.
  EXPECT_THAT(client->Join({.name = "g", .device = Device::Cuda(0)}),
              AnyOf(StatusIs(StatusCode::kUnimplemented, HasSubstr("device \"cuda:0\"")),
                    StatusIs(StatusCode::kNotFound, HasSubstr("device \"cuda:0\""))));
  EXPECT_THAT(client->Join({.name = "g", .device = Device{"cuda:x"}}),
              StatusIs(StatusCode::kNotFound, HasSubstr("the daemon has: host, cuda:0")));
}

}  // namespace
}  // namespace a8a
