// A test fixture with a daemon and a client of it.
#ifndef A8A_TESTS_INTEGRATION_DAEMON_DAEMON_FIXTURE_H_
#define A8A_TESTS_INTEGRATION_DAEMON_DAEMON_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <future>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "tests/integration/daemon/daemon_client.h"
#include "tests/support/daemon_process.h"

namespace a8a::testing {

// EXPECT_THAT(status, HasCode(grpc::StatusCode::NOT_FOUND)); also prints the message on failure.
MATCHER_P(HasCode, code, "") {
  *result_listener << "code " << arg.error_code() << ": " << arg.error_message();
  return arg.error_code() == code;
}
MATCHER_P2(HasCodeAndText, code, text, "") {
  *result_listener << "code " << arg.error_code() << ": " << arg.error_message();
  return arg.error_code() == code && arg.error_message().find(text) != std::string::npos;
}
MATCHER(IsOk, "") {
  *result_listener << "code " << arg.error_code() << ": " << arg.error_message();
  return arg.ok();
}

class DaemonTest : public ::testing::Test {
 protected:
  void SetUp() override { StartDaemon(flags_); }

  void StartDaemon(const std::vector<std::string>& flags) {
    DaemonProcess::Options options;
    // Groups that a test leaves behind shall not hold its end up; a test's own flag wins.
    options.flags = {"--drain-timeout=50ms"};
    options.flags.insert(options.flags.end(), flags.begin(), flags.end());
    absl::StatusOr<std::unique_ptr<DaemonProcess>> daemon = DaemonProcess::Start(options);
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
    client_ = std::make_unique<DaemonClient>(daemon_->grpc_address());
  }

  // --- Buffers ---
  grpc::Status RegisterBuffer(std::uint64_t session_id, std::int64_t size_bytes, v1::RegisterBufferResponse* response) {
    v1::RegisterBufferRequest request;
    request.set_session_id(session_id);
    request.set_device("host");
    request.set_size_bytes(size_bytes);
    return Call(client_->buffer.get(), &v1::BufferService::Stub::RegisterBuffer, request, response);
  }
  v1::RegisterBufferResponse MustRegisterBuffer(std::uint64_t session_id, std::int64_t size_bytes) {
    v1::RegisterBufferResponse response;
    EXPECT_THAT(RegisterBuffer(session_id, size_bytes, &response), IsOk());
    return response;
  }

  // --- Groups ---
  static v1::JoinGroupRequest JoinRequest(const Session& session, const std::string& name, int rank, int world_size) {
    v1::JoinGroupRequest request;
    request.set_session_id(session.id());
    request.set_name(name);
    request.set_rank(rank);
    request.set_world_size(world_size);
    request.set_device("host");
    return request;
  }
  grpc::Status Join(const v1::JoinGroupRequest& request, v1::JoinGroupResponse* response,
                    absl::Duration timeout = kPatience) {
    return Call(client_->group.get(), &v1::GroupService::Stub::JoinGroup, request, response, timeout);
  }
  // All sessions join as ranks of a new group, which this returns as rank 0 sees it.
  v1::JoinGroupResponse MustFormGroup(const std::string& name, const std::vector<Session*>& ranks) {
    const int world_size = static_cast<int>(ranks.size());
    std::vector<v1::JoinGroupResponse> responses(ranks.size());
    std::vector<std::future<grpc::Status>> joins;
    for (int rank = 0; rank < world_size; ++rank) {
      const std::size_t i = static_cast<std::size_t>(rank);
      joins.push_back(std::async(std::launch::async, [&, rank, i] {
        return Join(JoinRequest(*ranks[i], name, rank, world_size), &responses[i]);
      }));
    }
    for (std::future<grpc::Status>& join : joins) EXPECT_THAT(join.get(), IsOk());
    return responses[0];
  }

  grpc::Status RegisterWindow(std::uint64_t session_id, std::uint64_t group_id, const std::string& name,
                              std::int64_t size_bytes, v1::RegisterWindowResponse* response,
                              absl::Duration timeout = kPatience) {
    v1::RegisterWindowRequest request;
    request.set_session_id(session_id);
    request.set_group_id(group_id);
    request.set_name(name);
    request.set_size_bytes(size_bytes);
    return Call(client_->group.get(), &v1::GroupService::Stub::RegisterWindow, request, response, timeout);
  }
  std::vector<v1::RegisterWindowResponse> MustRegisterWindow(std::uint64_t group_id, const std::string& name,
                                                             std::int64_t size_bytes,
                                                             const std::vector<Session*>& ranks) {
    std::vector<v1::RegisterWindowResponse> responses(ranks.size());
    std::vector<std::future<grpc::Status>> calls;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      calls.push_back(std::async(std::launch::async, [&, i] {
        return RegisterWindow(ranks[i]->id(), group_id, name, size_bytes, &responses[i]);
      }));
    }
    for (std::future<grpc::Status>& call : calls) EXPECT_THAT(call.get(), IsOk());
    return responses;
  }
  grpc::Status Leave(const Session& session, std::uint64_t group_id) {
    v1::LeaveGroupRequest request;
    v1::LeaveGroupResponse response;
    request.set_session_id(session.id());
    request.set_group_id(group_id);
    return Call(client_->group.get(), &v1::GroupService::Stub::LeaveGroup, request, &response);
  }

  // --- Administration ---
  grpc::Status Drain(absl::Duration timeout, v1::DrainResponse* response) {
    v1::DrainRequest request;
    request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(timeout));
    request.mutable_timeout()->set_nanos(static_cast<int>(absl::ToInt64Nanoseconds(timeout % absl::Seconds(1))));
    return Call(client_->admin.get(), &v1::AdminService::Stub::Drain, request, response);
  }
  grpc::Status Drain() {
    v1::DrainResponse response;
    return Drain(absl::ZeroDuration(), &response);
  }
  grpc::Status Undrain() {
    v1::UndrainResponse response;
    return Call(client_->admin.get(), &v1::AdminService::Stub::Undrain, v1::UndrainRequest(), &response);
  }
  grpc::Status Revoke(const v1::RevokeRequest& request) {
    v1::RevokeResponse response;
    return Call(client_->admin.get(), &v1::AdminService::Stub::Revoke, request, &response);
  }

  std::vector<std::string> flags_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<DaemonClient> client_;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_DAEMON_DAEMON_FIXTURE_H_
