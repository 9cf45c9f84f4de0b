// Peers that write nonsense into shared memory: this rank may fail, but it stores nothing outside the peers' parts of
// the window, does not crash and does not hang.
#include <atomic>
#include <functional>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/host/cells.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/case_run.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"
#include "tests/unit/kernels/test_values.h"

namespace a8a::kernels::test {
namespace {

using host::Credit;

// Rank 0 sends 20 rows of 8 bytes to rank 1, which is played by the test.
class HostilePeerTest : public testing::Test {
 protected:
  static Case MakeCase() {
    Case a_case = MakeDenseCase({{5, 20}, {10, 5}}, 8);
    for (RankCase& rank : a_case.ranks) rank.window_bytes = kWindowBytes;
    return a_case;
  }

  [[nodiscard]] Credit GoodCredit() const {
    return {.operation = Operation::kOneShot,
            .fault = {},
            .window_index = 0,
            .placement = {0, case_.ranks[1].output_layout, 0},
            .rows = 20};
  }

  void ExpectNothingStored() {
    run_.ExpectUntouched(1, 0);
    EXPECT_EQ(group_.CountDamagedGuardBytes(), 0);
  }

  TestGroup group_ = TestGroup::WithWindows(2, 1, 1, kWindowBytes);
  const Case case_ = MakeCase();
  CaseRun run_{group_, case_};
  const host::Channel peer_ = group_.channel(1);
};

TEST_F(HostilePeerTest, GoodCreditIsServed) {
  run_.Poison(0);
  host::PublishCredit(peer_.CreditTo(0, 1), 1, GoodCredit());
  EXPECT_FALSE(run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).ok());  // the peer says no done
  host::Done done;
  ASSERT_EQ(host::ReadDone(peer_.DoneFrom(0, 1), 1, &done), host::CellState::kReached);
  EXPECT_TRUE(done.fault.ok());
  EXPECT_EQ(done.rows, 20);
}

TEST_F(HostilePeerTest, WildCreditLeadsNoStore) {
  const std::function<void(Credit&)> changes[] = {
      [](Credit& credit) { credit.placement.output_offset_bytes = -8; },
      [](Credit& credit) { credit.placement.output_offset_bytes = kWindowBytes - 8; },
      [](Credit& credit) { credit.placement.output_offset_bytes = kMost; },
      [](Credit& credit) { credit.placement.first_row = -1; },
      [](Credit& credit) { credit.placement.first_row = 6; },
      [](Credit& credit) { credit.placement.first_row = kMost - 10; },
      [](Credit& credit) { credit.placement.layout.inner_stride_bytes = -8; },
      [](Credit& credit) { credit.placement.layout.inner_stride_bytes = 4096; },
      [](Credit& credit) { credit.placement.layout.inner_stride_bytes = kMost; },
      [](Credit& credit) {
        credit.placement.layout.outer_size = 100;
        credit.placement.layout.outer_stride_bytes = 4096;
      },
      [](Credit& credit) { credit.placement.layout.outer_size = kMost; },
      [](Credit& credit) { credit.placement.layout.inner_size = 0; },
      [](Credit& credit) { credit.placement.layout.inner_size = kMost; },
      [](Credit& credit) { credit.placement.layout.row_bytes = kMost; },
      [](Credit& credit) { credit.placement.layout.row_bytes = 0; },
      [](Credit& credit) { credit.rows = kMost; },
      [](Credit& credit) { credit.window_index = 63; },
      [](Credit& credit) { credit.window_index = -1; },
      [](Credit& credit) { credit.operation = static_cast<Operation>(77); },
      [](Credit& credit) { credit.fault.fault = static_cast<Fault>(77); },
  };
  std::uint64_t epoch = 0;
  for (const auto& change : changes) {
    SCOPED_TRACE(testing::Message() << "change " << epoch);
    run_.Poison(0);
    Credit credit = GoodCredit();
    change(credit);
    ++epoch;
    host::PublishCredit(peer_.CreditTo(0, epoch), epoch, credit);

    const absl::Status status = run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0);

    // The plainest fault: what is wrong with the credit, not the done that never comes.
    EXPECT_NE(status.code(), absl::StatusCode::kOk);
    EXPECT_NE(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
    ExpectNothingStored();
  }
}

TEST_F(HostilePeerTest, DoneOfMoreRowsThanExpectedIsAMismatch) {
  host::PublishCredit(peer_.CreditTo(0, 1), 1, GoodCredit());
  host::PublishDone(peer_.DoneTo(0, 1), 1, {.operation = Operation::kOneShot, .fault = {}, .rows = kMost});
  EXPECT_THAT(run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).ToString(),
              testing::HasSubstr("rank 1 sends 9223372036854775807 rows to rank 0, which expects 10"));
  EXPECT_EQ(group_.channel(0).control().rows_received, 5u);
}

// The cell changes between any two looks at it, past every rule of the sequence lock.
TEST_F(HostilePeerTest, CreditThatChangesWhileItIsReadLeadsNoStray) {
  std::atomic<bool> stop = false;
  std::thread peer([&] {
    const std::int64_t values[] = {0, 8, 20, -8, 4096, kMost, kMost / 8, 1};
    for (std::size_t i = 0; !stop; ++i) {
      for (const std::uint64_t parity : {0, 1}) {
        CreditCell& cell = peer_.CreditTo(0, parity);
        for (std::int64_t* field : {&cell.output_offset_bytes, &cell.outer_size, &cell.inner_size,
                                    &cell.outer_stride_bytes, &cell.inner_stride_bytes, &cell.first_row}) {
          // Good most of the time: a field that is good when checked and bad when used is what must not matter.
          const std::int64_t good = field == &cell.outer_size           ? 1
                                    : field == &cell.inner_size         ? 25
                                    : field == &cell.inner_stride_bytes ? 8
                                                                        : 0;
          std::atomic_ref(*field).store(i++ % 3 == 0 ? values[i % std::size(values)] : good, std::memory_order_relaxed);
        }
      }
    }
  });
  for (std::uint64_t epoch = 1; epoch <= 3000; ++epoch) {
    host::PublishCredit(peer_.CreditTo(0, epoch), epoch, GoodCredit());
    const host::Done done = {.operation = Operation::kOneShot, .fault = {}, .rows = 10};
    host::PublishDone(peer_.DoneTo(0, epoch), epoch, done);
    run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).IgnoreError();
  }
  stop = true;
  peer.join();
  EXPECT_EQ(group_.CountDamagedGuardBytes(), 0);
}

// Random words all over rank 0's flags and the control segment, while rank 0 goes through epochs of all kinds.
TEST_F(HostilePeerTest, GarbageEverywhereEndsInErrorsOnly) {
  constexpr int kWords = 200'000;
  const std::uint64_t seed = TestSeed();
  SCOPED_TRACE(testing::Message() << "A8A_TEST_SEED=" << seed);
  std::atomic<bool> done = false;
  std::thread peer([&, random = Random(seed)]() mutable {
    const FlagsLayout flags{2, 1, 0};
    const auto scribble = [&](std::byte* segment, std::size_t size, std::uint64_t value) {
      const auto at = static_cast<std::size_t>(Uniform(random, 0, static_cast<std::int64_t>(size / 8) - 1)) * 8;
      std::atomic_ref(*reinterpret_cast<std::uint64_t*>(segment + at)).store(value, std::memory_order_relaxed);
    };
    for (int i = 0; i < kWords; ++i) {
      const std::uint64_t value = Uniform(random, 0, 1) == 0 ? random() : random() % 64;
      scribble(group_.group(1).flags[0], flags.size_bytes(), value);
      // The first page holds the abort word, which would end it all.
      scribble(group_.group(1).control + sizeof(GroupControl),
               group_.control_layout().size_bytes() - sizeof(GroupControl), value);
    }
    done = true;
  });
  while (!done) {
    run_.OneShotOn(0, 0, 1, /*timeout_ns=*/0).IgnoreError();
    run_.PrepareOn(0, 0, /*timeout_ns=*/0).IgnoreError();
    run_.PreparedOn(0, 0, 1, /*timeout_ns=*/0).IgnoreError();
    host::TakeStatus(group_.group(0), 0).IgnoreError();
  }
  peer.join();
  EXPECT_EQ(group_.CountDamagedGuardBytes(), 0);
}

}  // namespace
}  // namespace a8a::kernels::test
