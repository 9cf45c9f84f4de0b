// Orders failures of a daemon's system calls (daemon/failpoint.h). Daemons that are started while this lives obey it,
// one at a time. Not thread-safe.
#ifndef A8A_TESTS_INTEGRATION_DAEMON_FAILPOINT_BOARD_H_
#define A8A_TESTS_INTEGRATION_DAEMON_FAILPOINT_BOARD_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "daemon/failpoint.h"
#include "kernels/base/check.h"
#include "kernels/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace a8a::testing {

// The calls of one failpoint that fail: `count` of them, after `skip` that do not.
struct Fault {
  std::string failpoint;
  int error = 0;
  int skip = 0;
  int count = 1;
};

class FailpointBoard {
 public:
  FailpointBoard() {
    const std::string path = directory_.path() + "/board";
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    A8A_CHECK(::ftruncate(fd.get(), sizeof(Board)) == 0, path);
    void* const base = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    A8A_CHECK(base != MAP_FAILED, path);
    board_ = static_cast<Board*>(base);
    ::setenv(daemon::failpoint::kBoardVariable, path.c_str(), /*overwrite=*/1);
  }
  ~FailpointBoard() {
    ::unsetenv(daemon::failpoint::kBoardVariable);
    ::munmap(board_, sizeof(Board));
  }
  FailpointBoard(const FailpointBoard&) = delete;
  FailpointBoard& operator=(const FailpointBoard&) = delete;

  // Replaces all orders by these.
  void Order(const std::vector<Fault>& faults) {
    Withdraw();
    A8A_CHECK(faults.size() <= board_->orders.size(), "more orders than the board holds");
    for (std::size_t i = 0; i < faults.size(); ++i) {
      daemon::failpoint::Order& order = board_->orders[i];
      order.error = faults[i].error;
      order.skip = faults[i].skip;
      order.count = faults[i].count;
      order.fired = 0;
      order.id.store(daemon::failpoint::IdOf(faults[i].failpoint), std::memory_order_release);
      ordered_ = i + 1;
    }
  }
  void Withdraw() {
    for (daemon::failpoint::Order& order : board_->orders) order.id.store(0, std::memory_order_release);
    ordered_ = 0;
  }
  // Whether each order has made a call fail.
  [[nodiscard]] bool AllFired() const {
    for (std::size_t i = 0; i < ordered_; ++i) {
      if (board_->orders[i].fired == 0) return false;
    }
    return true;
  }
  // All failpoints of the daemon that runs.
  [[nodiscard]] std::set<std::string> Names() const {
    std::istringstream text(board_->names.data());
    std::set<std::string> names;
    for (std::string name; std::getline(text, name);) names.insert(name);
    return names;
  }

 private:
  using Board = daemon::failpoint::Board;

  TempDir directory_;
  Board* board_ = nullptr;
  std::size_t ordered_ = 0;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_DAEMON_FAILPOINT_BOARD_H_
