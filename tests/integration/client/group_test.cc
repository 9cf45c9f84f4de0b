// Groups, windows and all-to-alls through the public interface; statistics agree with what was done.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <barrier>
#include <cstring>

#include "a8a/v1/stat_service.grpc.pb.h"
#include "absl/time/clock.h"
#include "tests/integration/client/client_fixture.h"

namespace a8a {
namespace {

using absl::StatusCode;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class GroupTest : public ClientFixture {
 protected:
  v1::Stats GetStats() const {
    auto channel = grpc::CreateChannel(daemon_->grpc_address(), grpc::InsecureChannelCredentials());
    grpc::ClientContext context;
    v1::GetStatsResponse response;
    const grpc::Status status = v1::StatService::NewStub(channel)->GetStats(&context, v1::GetStatsRequest(), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.stats();
  }
};

TEST_F(GroupTest, JoinEndsWithItsTimeoutAndTheRankIsFreeAgain) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  EXPECT_THAT(client->Join({.name = "g", .world_size = 2, .timeout = absl::Milliseconds(100)}),
              StatusIs(StatusCode::kDeadlineExceeded));
  // The daemon may take a moment to see that the call is gone.
  EXPECT_TRUE(Eventually([&] { return client->Join({.name = "g", .world_size = 1}).ok(); }));
}

TEST_F(GroupTest, BadJoinsAreRefused) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  EXPECT_THAT(client->Join({.name = ""}), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(client->Join({.name = "g", .rank = 2, .world_size = 2}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("rank is 2; it must be in [0, 1]")));
  EXPECT_THAT(client->Join({.name = "g", .world_size = 65}), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(client->Join({.name = "g", .device = Device::Cuda(0)}),
              StatusIs(StatusCode::kNotFound, HasSubstr("the daemon has: host")));
}

TEST_F(GroupTest, AWrongSecretIsPermissionDeniedAndATakenRankAlreadyExists) {
  std::atomic<bool> joined = false;
  std::atomic<bool> done = false;
  std::thread first([&] {
    A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
    A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "g", .world_size = 2, .secret = "right"}));
    joined = true;
    EXPECT_TRUE(Eventually([&] { return done.load(); }));
  });
  ASSERT_TRUE(daemon_->WaitForLog("rank_joined"));
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());

  EXPECT_THAT(client->Join({.name = "g", .rank = 1, .world_size = 2, .secret = "wrong"}),
              StatusIs(StatusCode::kPermissionDenied));
  EXPECT_THAT(client->Join({.name = "g", .rank = 0, .world_size = 2, .secret = "right"}),
              StatusIs(StatusCode::kAlreadyExists));
  EXPECT_THAT(client->Join({.name = "g", .rank = 1, .world_size = 3, .secret = "right"}),
              StatusIs(StatusCode::kFailedPrecondition));
  EXPECT_FALSE(joined);
  EXPECT_THAT(client->Join({.name = "g", .rank = 1, .world_size = 2, .secret = "right"}), IsOk());
  done = true;
  first.join();
}

TEST_F(GroupTest, ARankThatLeavesAtOnceIsNeverATicketThatNobodyKnows) {
  constexpr int kRounds = 40;
  for (int round = 0; round < kRounds; ++round) {
    std::thread first([&] {
      A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
      EXPECT_THAT(client->Join({.name = "g", .world_size = 2}), AnyOf(IsOk(), StatusIs(StatusCode::kAborted)));
    });
    A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
    EXPECT_THAT(client->Join({.name = "g", .rank = 1, .world_size = 2}), AnyOf(IsOk(), StatusIs(StatusCode::kAborted)));
    first.join();
  }
}

TEST_F(GroupTest, RowsArriveTransposedOneShotAndPrepared) {
  constexpr int kRanks = 4;
  constexpr int kTokens = 3;
  constexpr int kRowBytes = 7;
  RunRanks(kRanks, [&](Group& group, int rank) {
    A8A_ASSERT_OK_AND_ASSIGN(const auto one, group.RegisterWindow("one", kRanks * kTokens * kRowBytes));
    A8A_ASSERT_OK_AND_ASSIGN(const auto two, group.RegisterWindow("two", kRanks * kTokens * kRowBytes));
    // input[p][i]: row i for rank p. Output [token, source, row], seen as [source, token, row].
    std::vector<char> input(kRanks * kTokens * kRowBytes);
    const View in = View::Contiguous(kRanks * kTokens, kRowBytes);
    const View out = {.outer_size = kRanks,
                      .inner_size = kTokens,
                      .outer_stride_bytes = kRowBytes,
                      .inner_stride_bytes = kRanks * kRowBytes,
                      .row_bytes = kRowBytes};
    const std::vector<std::int32_t> splits(kRanks, kTokens);
    const Splits s = Splits::Int32(splits.data(), splits.data());
    const auto fill = [&](int step) {
      for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<char>(step * 31 + rank * 101 + int(i) * 3);
    };
    const auto check = [&](const Window& window, int step) {
      for (int token = 0; token < kTokens; ++token) {
        for (int source = 0; source < kRanks; ++source) {
          for (int b = 0; b < kRowBytes; ++b) {
            const int at = (rank * kTokens + token) * kRowBytes + b;  // in the source's input
            const char want = static_cast<char>(step * 31 + source * 101 + at * 3);
            ASSERT_EQ(static_cast<char>(window.data()[(token * kRanks + source) * kRowBytes + b]), want);
          }
        }
      }
    };

    fill(0);
    ASSERT_THAT(group.AllToAll({input.data(), in}, {one.get(), 0, out}, s, Channel{0}), IsOk());
    check(*one, 0);
    Plan plan_one;
    Plan plan_two;
    ASSERT_THAT(group.Prepare(&plan_one, {nullptr, in}, {one.get(), 0, out}, s, Channel{0}), IsOk());
    ASSERT_THAT(group.Prepare(&plan_two, {nullptr, in}, {two.get(), 0, out}, s, Channel{0}), IsOk());
    for (int step = 1; step < 50; ++step) {
      fill(step);
      const bool odd = step % 2 == 1;
      ASSERT_THAT(group.AllToAll(odd ? plan_one : plan_two, input.data()), IsOk());
      check(odd ? *one : *two, step);
    }
    EXPECT_THAT(group.CheckStatus(Channel{0}), IsOk());
  });
}

TEST_F(GroupTest, ChannelsRunAtOnceFromSeveralThreads) {
  constexpr int kChannels = 4;
  RunRanks(2, [&](Group& group, int rank) {
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, group.RegisterWindow("w", kChannels * 2 * 64));
    std::vector<std::thread> threads;
    for (int channel = 0; channel < kChannels; ++channel) {
      threads.emplace_back([&, channel] {
        const std::int64_t split[] = {1, 1};
        std::vector<char> rows(2 * 64);
        for (int step = 0; step < 300; ++step) {
          std::memset(rows.data(), 1 + rank + channel + step, rows.size());
          ASSERT_THAT(group.AllToAll({rows.data(), View::Contiguous(2, 64)},
                                     {window.get(), channel * 2 * 64, View::Contiguous(2, 64)},
                                     Splits::Int64(split, split), Channel{channel}),
                      IsOk());
          const std::byte* got = window->data() + channel * 2 * 64;
          ASSERT_EQ(static_cast<char>(got[63]), static_cast<char>(1 + 0 + channel + step));
          ASSERT_EQ(static_cast<char>(got[127]), static_cast<char>(1 + 1 + channel + step));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
}

TEST_F(GroupTest, AMismatchIsTheSameErrorOnBothRanksAndTheNextOneWorks) {
  RunRanks(2, [&](Group& group, int rank) {
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, group.RegisterWindow("w", 1024));
    std::vector<char> rows(64, 'r');
    const auto run = [&](std::int32_t to_other, std::int32_t from_other) {
      std::int32_t send[] = {0, 0};
      std::int32_t receive[] = {0, 0};
      send[1 - rank] = to_other;
      receive[1 - rank] = from_other;
      return group.AllToAll({rows.data(), View::Contiguous(8, 8)}, {window.get(), 0, View::Contiguous(8, 8)},
                            Splits::Int32(send, receive), Channel{0});
    };

    // Rank 0 sends 7 rows, rank 1 expects 5.
    const absl::Status status = rank == 0 ? run(7, 2) : run(2, 5);

    EXPECT_THAT(status, StatusIs(StatusCode::kFailedPrecondition,
                                 AllOf(HasSubstr("rank 0 sends 7 rows to rank 1"), HasSubstr("expects 5"))));
    EXPECT_EQ(group.CheckStatus(Channel{0}).message(), status.message());
    EXPECT_THAT(group.CheckStatus(Channel{0}), IsOk()) << "taken off the channel";
    EXPECT_THAT(rank == 0 ? run(7, 2) : run(2, 7), IsOk());
  });
}

TEST_F(GroupTest, CallsThatCannotWorkAreRefusedBeforeAnythingIsSent) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto client, Connect());
  A8A_ASSERT_OK_AND_ASSIGN(const auto group, client->Join({.name = "alone", .channel_count = 2}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto window, group->RegisterWindow("w", 4096));
  const std::int32_t split[] = {1};
  const Splits splits = Splits::Int32(split, split);
  const View row = View::Contiguous(1, 8);
  const auto run = [&](const Input& input, const Output& output, Channel channel) {
    return group->AllToAll(input, output, splits, channel);
  };

  EXPECT_THAT(run({"12345678", row}, {window.get(), 0, row}, Channel{2}), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(run({"12345678", row}, {window.get(), 4096, row}, Channel{0}), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(run({"12345678", row}, {nullptr, 0, row}, Channel{0}), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(run({nullptr, row}, {window.get(), 0, row}, Channel{0}), StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(run({window->data() + 4, row}, {window.get(), 0, row}, Channel{0}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("overlap")));
  EXPECT_THAT(run({"12345678", row}, {window.get(), 0, View::Contiguous(1, 4)}, Channel{0}),
              StatusIs(StatusCode::kInvalidArgument));
  int not_a_stream = 0;
  EXPECT_THAT(group->AllToAll({"12345678", row}, {window.get(), 0, row}, splits, Channel{0}, &not_a_stream),
              StatusIs(StatusCode::kInvalidArgument));
  EXPECT_THAT(run({window->data() + 8, row}, {window.get(), 0, row}, Channel{0}), IsOk());
  EXPECT_THAT(group->AllToAll(Plan(), "12345678"), StatusIs(StatusCode::kFailedPrecondition));
}

TEST_F(GroupTest, ARankThatNeverComesIsADeadlineThatNamesIt) {
  std::barrier done(2);
  RunRanks(
      2,
      [&](Group& group, int rank) {
        A8A_ASSERT_OK_AND_ASSIGN(const auto window, group.RegisterWindow("w", 64));
        if (rank == 0) {
          const std::int32_t split[] = {0, 1};
          const absl::Time start = absl::Now();
          EXPECT_THAT(group.AllToAll({"row", View::Contiguous(1, 3)}, {window.get(), 0, View::Contiguous(1, 3)},
                                     Splits::Int32(split, split), Channel{0}),
                      StatusIs(StatusCode::kDeadlineExceeded, HasSubstr("rank 1")));
          EXPECT_GE(absl::Now() - start, absl::Milliseconds(200));
        }
        done.arrive_and_wait();
      },
      absl::Milliseconds(200));
}

TEST_F(GroupTest, AbortAndLeaveEndWhoWaits) {
  RunRanks(3, [&](Group& group, int rank) {
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, group.RegisterWindow("w", 64));
    if (rank == 2) {
      EXPECT_THAT(group.Abort("out of tokens"), IsOk());
      return;
    }
    const std::int32_t split[] = {0, 0, 0};
    const View none = View::Contiguous(0, 8);
    absl::Status status;
    // The abort may come before, while, or after the first of them waits.
    do {
      status = group.AllToAll({nullptr, none}, {window.get(), 0, none}, Splits::Int32(split, split), Channel{0});
    } while (status.ok());
    EXPECT_THAT(status, StatusIs(StatusCode::kAborted, HasSubstr("rank 2")));
  });
}

TEST_F(GroupTest, StatisticsAgreeWithWhatWasDone) {
  constexpr int kRounds = 10;
  std::barrier done(2);
  RunRanks(2, [&](Group& group, int rank) {
    A8A_ASSERT_OK_AND_ASSIGN(const auto window, group.RegisterWindow("w", 4096));
    const std::int32_t send[] = {1, 3};
    const std::int32_t receive[] = {send[rank], send[rank]};
    const std::vector<char> rows(4 * 8);
    for (int i = 0; i < kRounds; ++i) {
      ASSERT_THAT(group.AllToAll({rows.data(), View::Contiguous(4, 8)}, {window.get(), 0, View::Contiguous(8, 8)},
                                 Splits::Int32(send, receive), Channel{3}),
                  IsOk());
    }
    done.arrive_and_wait();
    if (rank == 0) {
      const v1::Stats stats = GetStats();
      ASSERT_EQ(stats.groups_size(), 1);
      for (int r = 0; r < 2; ++r) {
        const v1::RankStats& of_rank = stats.groups(0).ranks(r);
        ASSERT_EQ(of_rank.channels_size(), 1);
        EXPECT_EQ(of_rank.channels(0).channel(), 3);
        const v1::Counters& counters = of_rank.channels(0).counters();
        EXPECT_EQ(counters.all_to_alls(), kRounds);
        EXPECT_EQ(counters.rows_sent(), kRounds * 4);
        EXPECT_EQ(counters.bytes_sent(), kRounds * 4 * 8);
        EXPECT_EQ(counters.rows_received(), static_cast<std::uint64_t>(kRounds * (r == 0 ? 2 : 6)));
        EXPECT_EQ(of_rank.windows(0).rows(), counters.rows_received());
        EXPECT_EQ(of_rank.windows(0).all_to_alls(), kRounds);
      }
      std::int64_t leased = 0;
      for (const v1::SessionStats& session : stats.sessions()) leased += session.leased_bytes();
      EXPECT_EQ(leased, stats.devices(0).leased_bytes());
    }
    done.arrive_and_wait();
  });
  EXPECT_TRUE(Eventually([&] { return GetStats().devices(0).leased_bytes() == 0; }));
}

TEST_F(GroupTest, RanksThatLeaveOneAfterTheOtherDisturbNobody) {
  // Used to end the last all-to-all of slower ranks with ABORTED.
  for (int round = 0; round < 20; ++round) {
    RunRanks(4, [&](Group& group, int) {
      A8A_ASSERT_OK_AND_ASSIGN(const auto window, group.RegisterWindow("w", 4096));
      const std::vector<std::int32_t> split(4, 1);
      const std::vector<char> rows(4 * 100);
      EXPECT_THAT(group.AllToAll({rows.data(), View::Contiguous(4, 100)}, {window.get(), 0, View::Contiguous(4, 100)},
                                 Splits::Int32(split.data(), split.data()), Channel{0}),
                  IsOk());
    });
  }
}

}  // namespace
}  // namespace a8a
