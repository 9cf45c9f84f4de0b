// A service manager as the daemon sees it: a notify socket, which hears of the watchdog too, and a store for
// descriptors that outlives the daemon [sd_notify(3), FDSTORE=1, FDSTOREREMOVE=1, FDNAME=]. Thread-safe.
#ifndef A8A_TESTS_FAKES_FAKE_SERVICE_MANAGER_H_
#define A8A_TESTS_FAKES_FAKE_SERVICE_MANAGER_H_

#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "kernels/base/mutex.h"
#include "kernels/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace a8a::testing {

class FakeServiceManager {
 public:
  FakeServiceManager();
  ~FakeServiceManager();
  FakeServiceManager(const FakeServiceManager&) = delete;
  FakeServiceManager& operator=(const FakeServiceManager&) = delete;

  // "NOTIFY_SOCKET=..." for the service's environment.
  [[nodiscard]] std::string environment() const;
  // What is stored, for a service that is started again: name and descriptor, which stays the manager's.
  [[nodiscard]] std::vector<std::pair<std::string, int>> descriptors() const;
  // The lines of all messages so far.
  [[nodiscard]] std::vector<std::string> lines() const;
  // Whether a message had the line `state`, and how many had.
  [[nodiscard]] bool Heard(absl::string_view state) const { return Count(state) > 0; }
  [[nodiscard]] int Count(absl::string_view state) const;

 private:
  void Run();
  void Receive();

  const TempDir directory_;
  UniqueFd socket_;
  UniqueFd stop_;  // an eventfd
  mutable Mutex mutex_;
  std::map<std::string, UniqueFd> descriptors_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_FAKES_FAKE_SERVICE_MANAGER_H_
