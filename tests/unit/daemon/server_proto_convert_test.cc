#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

#include "daemon/paging.h"
#include "daemon/proto_convert.h"

namespace a8a::daemon {
namespace {

using ::testing::ElementsAre;

google::protobuf::Duration Proto(std::int64_t seconds, int nanos) {
  google::protobuf::Duration message;
  message.set_seconds(seconds);
  message.set_nanos(nanos);
  return message;
}

TEST(DurationTest, ComesBackAsItWent) {
  for (const absl::Duration duration :
       {absl::ZeroDuration(), absl::Nanoseconds(1), absl::Milliseconds(-1500), absl::Hours(24)}) {
    google::protobuf::Duration message;
    ToProto(duration, &message);

    const absl::StatusOr<absl::Duration> back = FromProto(message);

    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, duration);
  }
}

TEST(DurationTest, MalformedMessagesAreInvalidArguments) {
  for (const google::protobuf::Duration& bad : {Proto(0, 1'000'000'000), Proto(1, -1), Proto(-1, 1)}) {
    EXPECT_EQ(FromProto(bad).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(RankStatsTest, TotalIsTheSumOfTheChannels) {
  CoreSnapshot snapshot;
  RankSnapshot& rank = snapshot.groups.emplace_back().ranks.emplace_back();
  for (const int channel : {2, 5}) {
    ChannelSnapshot& counters = rank.channels.emplace_back();
    counters.channel = channel;
    counters.all_to_alls = 10;
    counters.rows_sent = 100;
    counters.done_wait.counts[3] = 4;
    counters.done_wait.sum_ns = 50;
    counters.errors[static_cast<int>(absl::StatusCode::kDeadlineExceeded)] = 1;
  }
  v1::Stats stats;

  ToProto(snapshot, &stats);

  const v1::Counters& total = stats.groups(0).ranks(0).total();
  EXPECT_EQ(total.all_to_alls(), 20U);
  EXPECT_EQ(total.rows_sent(), 200U);
  EXPECT_EQ(total.done_wait().counts(3), 8U);
  EXPECT_EQ(total.done_wait().sum_ns(), 100U);
  EXPECT_EQ(total.done_wait().counts_size(), kernels::kWaitBucketCount);
  ASSERT_EQ(total.errors_size(), 1);
  EXPECT_EQ(total.errors(0).code(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(total.errors(0).count(), 2U);
  EXPECT_EQ(stats.groups(0).ranks(0).channels(1).channel(), 5);
}

// A list of buffers with ids 1 to `count` and names of `name_bytes`.
auto Buffers(int count, std::size_t name_bytes) {
  return [=](std::uint64_t after, int page_size) -> absl::StatusOr<std::vector<BufferInfo>> {
    std::vector<BufferInfo> page;
    const int limit = page_size == 0 ? kPageSizeDefault : page_size;
    for (std::uint64_t id = after + 1; id <= static_cast<std::uint64_t>(count); ++id) {
      if (static_cast<int>(page.size()) == limit) break;
      BufferInfo& buffer = page.emplace_back();
      buffer.buffer_id = id;
      buffer.name = std::string(name_bytes, 'x');
    }
    return page;
  };
}

std::uint64_t BufferId(const BufferInfo& buffer) { return buffer.buffer_id; }

TEST(FillPageTest, AFullPageNamesWhereTheNextOneStarts) {
  google::protobuf::RepeatedPtrField<v1::Buffer> page;

  EXPECT_EQ(*FillPage(0, 2, Buffers(3, 1), &BufferId, &page), 2U);
  EXPECT_EQ(page.size(), 2);
}

TEST(FillPageTest, TheLastPageSaysSoEvenIfItIsFull) {
  google::protobuf::RepeatedPtrField<v1::Buffer> page;

  EXPECT_EQ(*FillPage(2, 2, Buffers(4, 1), &BufferId, &page), 0U);
  EXPECT_EQ(page.size(), 2);
}

TEST(FillPageTest, ZeroMeansTheDefaultSize) {
  google::protobuf::RepeatedPtrField<v1::Buffer> page;

  EXPECT_EQ(*FillPage(0, 0, Buffers(101, 1), &BufferId, &page), 100U);
  EXPECT_EQ(page.size(), 100);
}

TEST(FillPageTest, ManyBytesEndAPageEarlyAndLoseNothing) {
  constexpr int kCount = 10;
  std::vector<std::uint64_t> ids;
  std::uint64_t after = 0;
  int pages = 0;

  do {
    google::protobuf::RepeatedPtrField<v1::Buffer> page;
    after = *FillPage(after, 1000, Buffers(kCount, kPageBytesMax / 3), &BufferId, &page);
    for (const v1::Buffer& buffer : page) ids.push_back(buffer.buffer_id());
    ++pages;
  } while (after != 0);

  std::vector<std::uint64_t> expected(kCount);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_EQ(ids, expected);
  EXPECT_EQ(pages, 4);
}

TEST(FillPageTest, ErrorsOfTheListAreKept) {
  google::protobuf::RepeatedPtrField<v1::Buffer> page;
  const auto list = [](std::uint64_t, int) -> absl::StatusOr<std::vector<BufferInfo>> {
    return absl::InvalidArgumentError("page_size");
  };

  EXPECT_EQ(FillPage(0, -1, list, &BufferId, &page).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace a8a::daemon
