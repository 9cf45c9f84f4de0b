#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <vector>

#include "daemon/executor.h"
#include "daemon/timer_queue.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Turn kTurn = {.uid = 1000};

Executor::Options OneThread(std::size_t queue_max) {
  return {.name = "test", .thread_count = 1, .queue_max = queue_max};
}

TEST(ExecutorTest, RunsWorkInOrderBeforeItIsDestroyed) {
  std::vector<int> order;

  {
    Executor executor(OneThread(8));
    ASSERT_TRUE(executor.Start().ok());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(executor.Submit(kTurn, [&order, i] { order.push_back(i); }).ok());
  }

  EXPECT_THAT(order, ElementsAre(0, 1, 2));
}

TEST(ExecutorTest, AFullQueueRefusesAndNamesItsLimit) {
  std::promise<void> started;
  std::promise<void> go_on;
  std::atomic<int> ran = 0;
  {
    Executor executor(OneThread(2));
    ASSERT_TRUE(executor.Start().ok());
    ASSERT_TRUE(executor
                    .Submit(kTurn,
                            [&] {
                              started.set_value();
                              go_on.get_future().wait();
                            })
                    .ok());
    started.get_future().wait();
    ASSERT_TRUE(executor.Submit(kTurn, [&] { ++ran; }).ok());
    ASSERT_TRUE(executor.Submit(kTurn, [&] { ++ran; }).ok());

    const absl::Status status = executor.Submit(kTurn, [&] { ++ran; });

    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()), HasSubstr("full with 2"));
    executor.SubmitAlways(kTurn, [&] { ++ran; });
    go_on.set_value();
  }
  EXPECT_EQ(ran, 3);
}

TEST(ExecutorTest, ThreadsWorkSideBySide) {
  std::promise<void> first;
  std::promise<void> second;
  Executor executor({.name = "test", .thread_count = 2, .queue_max = 2});
  ASSERT_TRUE(executor.Start().ok());

  // Each waits for the other: one thread would never end.
  ASSERT_TRUE(executor
                  .Submit(kTurn,
                          [&] {
                            first.set_value();
                            second.get_future().wait();
                          })
                  .ok());
  ASSERT_TRUE(executor
                  .Submit({.uid = 2},
                          [&] {
                            first.get_future().wait();
                            second.set_value();
                          })
                  .ok());
}

TEST(ExecutorTest, UidsTakeTurnsHoweverMuchOneSubmits) {
  std::promise<void> started;
  std::promise<void> go_on;
  std::vector<std::uint32_t> order;
  {
    Executor executor(OneThread(8));
    ASSERT_TRUE(executor.Start().ok());
    executor.SubmitAlways(kTurn, [&] {
      started.set_value();
      go_on.get_future().wait();
    });
    started.get_future().wait();
    for (const std::uint32_t uid : {1U, 1U, 1U, 2U, 2U, 3U}) {
      executor.SubmitAlways({.uid = uid}, [&order, uid] { order.push_back(uid); });
    }
    go_on.set_value();
  }

  EXPECT_THAT(order, ElementsAre(1, 2, 3, 1, 2, 1));
}

TEST(ExecutorTest, AUidLeavesOneThreadToOthers) {
  std::promise<void> go_on;
  const std::shared_future<void> gone_on = go_on.get_future().share();
  std::atomic<int> running = 0;
  std::promise<void> others;
  Executor executor({.name = "test", .thread_count = 3, .queue_max = 8});
  ASSERT_TRUE(executor.Start().ok());
  for (int i = 0; i < 3; ++i) {
    executor.SubmitAlways(kTurn, [&] {
      ++running;
      gone_on.wait();
    });
  }

  executor.SubmitAlways({.uid = 1}, [&] { others.set_value(); });

  others.get_future().wait();
  EXPECT_LE(running, 2);
  go_on.set_value();
}

TEST(ExecutorTest, WorkWaitsForItsTimeAndHoldsUpNobodyElse) {
  const auto not_before = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
  std::promise<std::chrono::steady_clock::time_point> late;
  std::promise<std::chrono::steady_clock::time_point> others;
  Executor executor(OneThread(8));
  ASSERT_TRUE(executor.Start().ok());
  executor.SubmitAlways({.uid = 1, .not_before = not_before},
                        [&] { late.set_value(std::chrono::steady_clock::now()); });

  executor.SubmitAlways({.uid = 2}, [&] { others.set_value(std::chrono::steady_clock::now()); });

  const auto others_time = others.get_future().get();
  const auto late_time = late.get_future().get();
  EXPECT_GE(late_time, not_before);
  EXPECT_LT(others_time, late_time);
}

TEST(TimerQueueTest, RunsFunctionsInTheOrderOfTheirTimes) {
  std::vector<int> order;
  std::promise<void> done;
  TimerQueue timers;
  ASSERT_TRUE(timers.Start().ok());

  timers.After(absl::Milliseconds(30), [&] {
    order.push_back(3);
    done.set_value();
  });
  timers.After(absl::Milliseconds(10), [&] { order.push_back(2); });
  timers.After(absl::ZeroDuration(), [&] { order.push_back(1); });
  done.get_future().wait();

  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST(TimerQueueTest, StopDropsWhatHasNotRun) {
  std::atomic<bool> ran = false;
  TimerQueue timers;
  ASSERT_TRUE(timers.Start().ok());
  timers.After(absl::Hours(1), [&] { ran = true; });

  timers.Stop();

  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace a8a::daemon
