#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/exiting_process.h"
#include "kernels/base/check.h"
#include "kernels/base/unique_fd.h"
#include "tests/support/eventually.h"
#include "tests/support/slow_end.h"

namespace a8a::daemon {
namespace {

// A child that runs `body`, with its handle. Killed and waited for by the destructor.
class Child {
 public:
  explicit Child(const std::function<void()>& body) : pid_(::fork()) {
    A8A_CHECK(pid_ >= 0, "fork");
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      body();
      ::_exit(0);
    }
    pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    A8A_CHECK(pidfd_.valid(), "pidfd_open");
  }
  ~Child() {
    Signal(SIGKILL);
    Reap();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void Signal(int signal) const {
    if (pid_ > 0) ::kill(pid_, signal);
  }
  void Reap() {
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // Without waiting for it away.
  void AwaitState(int waitid_options) const {
    siginfo_t info = {};
    A8A_CHECK(::waitid(P_PID, static_cast<id_t>(pid_), &info, waitid_options | WNOWAIT) == 0, "waitid");
  }
  [[nodiscard]] bool HasEnded() const {
    siginfo_t info = {};
    A8A_CHECK(::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0, "waitid");
    return info.si_pid != 0;
  }
  [[nodiscard]] bool FirstThreadIsZombie() const {
    std::string stat;
    std::getline(std::ifstream(absl::StrCat("/proc/", pid_, "/stat")), stat);
    return absl::StrContains(stat, ") Z ");
  }
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }

 private:
  pid_t pid_;
  UniqueFd pidfd_;
};

[[noreturn]] void SleepForEver() {
  while (true) ::pause();
}

TEST(ExitingProcessTest, AProcessThatRunsOrIsStoppedIsNot) {
  const Child child(&SleepForEver);
  EXPECT_FALSE(IsExiting(child.pidfd()));

  child.Signal(SIGSTOP);
  child.AwaitState(WSTOPPED);

  EXPECT_FALSE(IsExiting(child.pidfd()));
}

TEST(ExitingProcessTest, AProcessThatHasLostItsFirstThreadIsNot) {
  const Child child([] {
    std::thread(&SleepForEver).detach();
    ::syscall(SYS_exit, 0);
  });

  ASSERT_TRUE(Eventually([&] { return child.FirstThreadIsZombie(); }));

  EXPECT_FALSE(IsExiting(child.pidfd()));
}

TEST(ExitingProcessTest, AProcessThatHasEndedIsUntilItIsReaped) {
  Child child([] {});
  child.AwaitState(WEXITED);

  EXPECT_TRUE(IsExiting(child.pidfd()));

  child.Reap();
  EXPECT_FALSE(IsExiting(child.pidfd())) << "its number may be another's";
}

TEST(ExitingProcessTest, AProcessThatTheKernelIsStillTakingDownIs) {
  testing::SlowEnd slow;
  std::optional<Child> child;
  if (!slow.Start([&] { child.emplace(&SleepForEver); })) GTEST_SKIP() << "no right to make a PID namespace";
  EXPECT_FALSE(IsExiting(child->pidfd()));

  child->Signal(SIGKILL);

  EXPECT_TRUE(Eventually([&] { return IsExiting(child->pidfd()); }));
  EXPECT_FALSE(child->HasEnded());
  slow.Release();
  child->AwaitState(WEXITED);
}

TEST(ExitingProcessTest, WhatIsNoProcessIsNot) { EXPECT_FALSE(IsExiting(STDERR_FILENO)); }

}  // namespace
}  // namespace a8a::daemon
