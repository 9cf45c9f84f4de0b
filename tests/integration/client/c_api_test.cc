// The C interface, through the shared library as it is shipped.
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "a8a/a8a.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/daemon_process.h"

namespace a8a {
namespace {

using ::testing::HasSubstr;
using ::testing::StrEq;

class CApiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto daemon = testing::DaemonProcess::Start();
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
  }

  [[nodiscard]] a8a_client* Connect() const {
    const a8a_connect_options options = {.struct_size = sizeof(options),
                                         .runtime_dir = daemon_->runtime_dir().c_str(),
                                         .client_name = "c",
                                         .timeout_ns = 0};
    a8a_client* client = nullptr;
    EXPECT_EQ(a8a_connect(&options, &client), A8A_OK) << a8a_last_error();
    return client;
  }

  std::unique_ptr<testing::DaemonProcess> daemon_;
};

a8a_join_options JoinAs(const char* name, int rank, int world_size) {
  a8a_join_options options = {};
  options.struct_size = sizeof(options);
  options.name = name;
  options.rank = rank;
  options.world_size = world_size;
  return options;
}

// One rank of two: what it sends to rank p is all bytes of value 16 * rank + p + step.
void RunRank(a8a_client* client, int rank) {
  constexpr std::int64_t kRowBytes = 33;
  a8a_group* group = nullptr;
  const a8a_join_options join = JoinAs("pair", rank, 2);
  ASSERT_EQ(a8a_join(client, &join, &group), A8A_OK) << a8a_last_error();
  EXPECT_EQ(a8a_group_rank(group), rank);
  EXPECT_EQ(a8a_group_world_size(group), 2);
  EXPECT_EQ(a8a_group_channel_count(group), 8);
  EXPECT_NE(a8a_group_id(group), 0U);
  EXPECT_GT(a8a_group_overhead_bytes(group), 0);
  a8a_window* window = nullptr;
  ASSERT_EQ(a8a_register_window(group, "out", 2 * kRowBytes, 0, &window), A8A_OK) << a8a_last_error();
  EXPECT_GE(a8a_window_size_bytes(window), 2 * kRowBytes);
  EXPECT_EQ(a8a_window_index(window), 0);
  EXPECT_THAT(a8a_window_name(window), StrEq("out"));

  std::vector<char> rows(2 * kRowBytes);
  const std::int64_t split[] = {1, 1};
  a8a_all_to_all_params params = {};
  params.struct_size = sizeof(params);
  params.input = rows.data();
  params.input_view = {1, 2, 2 * kRowBytes, kRowBytes, kRowBytes};
  params.window = window;
  params.output_view = params.input_view;
  params.splits = {split, split, nullptr, nullptr, 8};
  params.channel = 2;
  const auto fill = [&](int step) {
    for (int p = 0; p < 2; ++p) std::memset(rows.data() + p * kRowBytes, 16 * rank + p + step, kRowBytes);
  };
  const auto check = [&](int step) {
    const auto* data = static_cast<const char*>(a8a_window_data(window));
    for (int source = 0; source < 2; ++source) {
      EXPECT_EQ(data[source * kRowBytes], 16 * source + rank + step);
      EXPECT_EQ(data[source * kRowBytes + kRowBytes - 1], 16 * source + rank + step);
    }
  };

  fill(0);
  ASSERT_EQ(a8a_all_to_all(group, &params), A8A_OK) << a8a_last_error();
  check(0);
  a8a_plan* plan = nullptr;
  ASSERT_EQ(a8a_plan_create(&plan), A8A_OK);
  EXPECT_EQ(a8a_all_to_all_prepared(group, plan, rows.data(), nullptr), A8A_FAILED_PRECONDITION);
  ASSERT_EQ(a8a_prepare(group, plan, &params), A8A_OK) << a8a_last_error();
  for (int step = 1; step < 20; ++step) {
    fill(step);
    ASSERT_EQ(a8a_all_to_all_prepared(group, plan, rows.data(), nullptr), A8A_OK) << a8a_last_error();
    check(step);
  }
  EXPECT_EQ(a8a_check_status(group, 2), A8A_OK);
  EXPECT_EQ(a8a_check_status(group, 8), A8A_INVALID_ARGUMENT);
  a8a_plan_destroy(plan);
  a8a_window_release(window);
  a8a_leave(group);
}

TEST_F(CApiTest, TwoRanksOneShotAndPrepared) {
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.emplace_back([this, rank] {
      a8a_client* const client = Connect();
      ASSERT_NE(client, nullptr);
      EXPECT_EQ(a8a_client_status(client), A8A_OK);
      EXPECT_NE(a8a_client_session_id(client), 0U);
      EXPECT_EQ(a8a_client_draining(client), 0);
      RunRank(client, rank);
      a8a_disconnect(client);
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

TEST_F(CApiTest, DevicesAndBuffers) {
  a8a_client* const client = Connect();
  ASSERT_EQ(a8a_client_device_count(client), 1);
  EXPECT_THAT(a8a_client_device_name(client, 0), StrEq("host"));
  EXPECT_EQ(a8a_client_device_name(client, 1), nullptr);
  EXPECT_EQ(a8a_client_device_name(client, -1), nullptr);

  a8a_buffer* buffer = nullptr;
  ASSERT_EQ(a8a_buffer_register(client, 5000, nullptr, nullptr, 0, &buffer), A8A_OK) << a8a_last_error();
  EXPECT_GE(a8a_buffer_size_bytes(buffer), 5000);
  EXPECT_NE(a8a_buffer_id(buffer), 0U);
  EXPECT_EQ(a8a_buffer_status(buffer), A8A_OK);
  std::memset(a8a_buffer_data(buffer), 1, 5000);
  a8a_buffer_release(buffer);
  EXPECT_TRUE(daemon_->WaitForLog("buffer_released"));

  EXPECT_EQ(a8a_buffer_register(client, 1, "tape:0", "b", 0, &buffer), A8A_NOT_FOUND);
  EXPECT_EQ(buffer, nullptr);
  a8a_disconnect(client);
}

TEST_F(CApiTest, AbortCarriesItsMessage) {
  a8a_client* const client = Connect();
  a8a_group* group = nullptr;
  const a8a_join_options join = JoinAs("alone", 0, 1);
  ASSERT_EQ(a8a_join(client, &join, &group), A8A_OK) << a8a_last_error();

  EXPECT_EQ(a8a_abort(group, "enough", 0), A8A_OK) << a8a_last_error();

  EXPECT_EQ(a8a_check_status(group, 0), A8A_ABORTED);
  EXPECT_TRUE(daemon_->WaitForLog("enough"));
  a8a_leave(group);
  a8a_disconnect(client);
}

TEST_F(CApiTest, WrongArgumentsAreToldApart) {
  a8a_client* const client = Connect();
  a8a_client* other = client;
  a8a_connect_options connect = {};
  EXPECT_EQ(a8a_connect(&connect, &other), A8A_INVALID_ARGUMENT);
  EXPECT_THAT(a8a_last_error(), HasSubstr("struct_size is 0; this library's is"));
  EXPECT_EQ(other, nullptr);
  connect.struct_size = sizeof(connect);
  connect.timeout_ns = -1;
  EXPECT_EQ(a8a_connect(&connect, &other), A8A_INVALID_ARGUMENT);
  EXPECT_THAT(a8a_last_error(), HasSubstr("timeout_ns -1 is negative"));

  a8a_group* group = nullptr;
  a8a_join_options join = JoinAs(nullptr, 0, 1);
  EXPECT_EQ(a8a_join(client, &join, &group), A8A_INVALID_ARGUMENT);
  EXPECT_THAT(a8a_last_error(), HasSubstr("options->name is NULL"));
  join = JoinAs("g", 1, 1);
  EXPECT_EQ(a8a_join(client, &join, &group), A8A_INVALID_ARGUMENT);
  join = JoinAs("g", 0, 1);
  join.channel_count = -1;
  EXPECT_EQ(a8a_join(client, &join, &group), A8A_INVALID_ARGUMENT);
  join.channel_count = 0;
  ASSERT_EQ(a8a_join(client, &join, &group), A8A_OK) << a8a_last_error();

  a8a_all_to_all_params params = {};
  EXPECT_EQ(a8a_all_to_all(group, &params), A8A_INVALID_ARGUMENT);
  params.struct_size = sizeof(params);
  params.splits.index_bytes = 2;
  EXPECT_EQ(a8a_all_to_all(group, &params), A8A_INVALID_ARGUMENT);
  EXPECT_THAT(a8a_last_error(), HasSubstr("index_bytes is 2; must be 4 or 8"));
  params.splits.index_bytes = 4;
  EXPECT_EQ(a8a_all_to_all(group, &params), A8A_INVALID_ARGUMENT);
  EXPECT_THAT(a8a_last_error(), HasSubstr("names no window"));
  a8a_leave(group);
  a8a_disconnect(client);
}

TEST(CApiNullTest, NullHandlesAreRefusedOrEmpty) {
  a8a_group* group = nullptr;
  a8a_buffer* buffer = nullptr;
  a8a_window* window = nullptr;
  char own[1];
  const a8a_join_options join = JoinAs("g", 0, 1);

  EXPECT_EQ(a8a_connect(nullptr, nullptr), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_join(nullptr, &join, &group), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_buffer_register(nullptr, 1, nullptr, nullptr, 0, &buffer), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_register_window(nullptr, "w", 1, 0, &window), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_register_window_on(nullptr, "w", own, 1, 0, &window), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_all_to_all(nullptr, nullptr), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_prepare(nullptr, nullptr, nullptr), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_all_to_all_prepared(nullptr, nullptr, nullptr, nullptr), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_check_status(nullptr, 0), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_abort(nullptr, nullptr, 0), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_client_status(nullptr), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_buffer_status(nullptr), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_plan_create(nullptr), A8A_INVALID_ARGUMENT);
  EXPECT_EQ(a8a_client_device_count(nullptr), 0);
  EXPECT_EQ(a8a_client_session_id(nullptr), 0U);
  EXPECT_EQ(a8a_client_draining(nullptr), 0);
  EXPECT_EQ(a8a_group_rank(nullptr), -1);
  EXPECT_EQ(a8a_window_index(nullptr), -1);
  EXPECT_EQ(a8a_window_data(nullptr), nullptr);
  EXPECT_EQ(a8a_window_name(nullptr), nullptr);
  EXPECT_EQ(a8a_buffer_data(nullptr), nullptr);
  a8a_disconnect(nullptr);
  a8a_leave(nullptr);
  a8a_window_release(nullptr);
  a8a_buffer_release(nullptr);
  a8a_plan_destroy(nullptr);
}

TEST(CApiNullTest, TheLastErrorIsTheThreadsOwn) {
  ASSERT_EQ(a8a_client_status(nullptr), A8A_INVALID_ARGUMENT);
  std::thread([] { EXPECT_THAT(a8a_last_error(), StrEq("")); }).join();
  EXPECT_THAT(a8a_last_error(), StrEq("client is NULL"));
}

TEST(CApiNullTest, CodesHaveTheirCanonicalNames) {
  EXPECT_THAT(a8a_status_name(A8A_OK), StrEq("OK"));
  EXPECT_THAT(a8a_status_name(A8A_ABORTED), StrEq("ABORTED"));
  EXPECT_THAT(a8a_status_name(A8A_UNAVAILABLE), StrEq("UNAVAILABLE"));
  EXPECT_THAT(a8a_status_name(99), StrEq(""));
  EXPECT_THAT(a8a_status_name(-1), StrEq(""));
  EXPECT_STRNE(a8a_version(), "");
}

}  // namespace
}  // namespace a8a
