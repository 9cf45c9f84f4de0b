#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <vector>

#include "daemon/executor.h"
#include "daemon/timer_queue.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Executor::Options OneThread(std::size_t queue_max) {
  return {.name = "test", .thread_count = 1, .queue_max = queue_max};
}

TEST(ExecutorTest, RunsWorkInOrderBeforeItIsDestroyed) {
  std::vector<int> order;

  {
    Executor executor(OneThread(8));
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(executor.Submit([&order, i] { order.push_back(i); }).ok());
  }

  EXPECT_THAT(order, ElementsAre(0, 1, 2));
}

TEST(ExecutorTest, AFullQueueRefusesAndNamesItsLimit) {
  std::promise<void> started;
  std::promise<void> go_on;
  std::atomic<int> ran = 0;
  {
    Executor executor(OneThread(2));
    ASSERT_TRUE(executor
                    .Submit([&] {
                      started.set_value();
                      go_on.get_future().wait();
                    })
                    .ok());
    started.get_future().wait();
    ASSERT_TRUE(executor.Submit([&] { ++ran; }).ok());
    ASSERT_TRUE(executor.Submit([&] { ++ran; }).ok());

    const absl::Status status = executor.Submit([&] { ++ran; });

    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(status.message()), HasSubstr("full with 2"));
    executor.SubmitAlways([&] { ++ran; });
    go_on.set_value();
  }
  EXPECT_EQ(ran, 3);
}

TEST(ExecutorTest, ThreadsWorkSideBySide) {
  std::promise<void> first;
  std::promise<void> second;
  Executor executor({.name = "test", .thread_count = 2, .queue_max = 2});

  // Each waits for the other: one thread would never end.
  ASSERT_TRUE(executor
                  .Submit([&] {
                    first.set_value();
                    second.get_future().wait();
                  })
                  .ok());
  ASSERT_TRUE(executor
                  .Submit([&] {
                    first.get_future().wait();
                    second.set_value();
                  })
                  .ok());
}

TEST(TimerQueueTest, RunsFunctionsInTheOrderOfTheirTimes) {
  std::vector<int> order;
  std::promise<void> done;
  TimerQueue timers;

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
  timers.After(absl::Hours(1), [&] { ran = true; });

  timers.Stop();

  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace a8a::daemon
