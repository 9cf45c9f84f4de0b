// A daemon, and clients of it.
#ifndef A8A_TESTS_INTEGRATION_CLIENT_CLIENT_FIXTURE_H_
#define A8A_TESTS_INTEGRATION_CLIENT_CLIENT_FIXTURE_H_

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "gtest/gtest.h"
#include "tests/support/daemon_process.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"

namespace a8a {

class ClientFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    auto daemon = a8a::testing::DaemonProcess::Start();
    ASSERT_TRUE(daemon.ok()) << daemon.status();
    daemon_ = *std::move(daemon);
  }

  [[nodiscard]] absl::StatusOr<std::unique_ptr<Client>> Connect() const {
    return Client::Connect({.runtime_dir = daemon_->runtime_dir(), .client_name = "test"});
  }

  // Runs body(group, rank) as each rank of a new group, in threads with a client each.
  void RunRanks(int world_size, const std::function<void(Group&, int)>& body,
                absl::Duration all_to_all_timeout = absl::Seconds(60)) const {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < world_size; ++rank) {
      threads.emplace_back([=, this] {
        A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
        A8A_ASSERT_OK_AND_ASSIGN(
            const auto group,
            client->Join(
                {.name = "ranks", .rank = rank, .world_size = world_size, .all_to_all_timeout = all_to_all_timeout}));
        body(*group, rank);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  std::unique_ptr<a8a::testing::DaemonProcess> daemon_;
};

inline int CountEntries(const char* directory) {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) ++count;
  return count;
}

}  // namespace a8a

#endif  // A8A_TESTS_INTEGRATION_CLIENT_CLIENT_FIXTURE_H_
