#include "kernels/host/cells.h"

#include <atomic>
#include <thread>

#include "gtest/gtest.h"

namespace a8a::kernels::host {
namespace {

// Successful reads of a cell that is being overwritten all the time.
constexpr int kReads = 2'000;

// A credit whose fields all say `value`.
Credit CreditOf(std::int64_t value) {
  return {.operation = Operation::kOneShot,
          .fault = {Fault::kNone, value, value},
          .window_index = value,
          .placement = {value, {value, value, value, value, value}, value},
          .rows = value};
}

bool SaysOnly(const Credit& credit, std::int64_t value) {
  const auto& [offset, layout, first_row] = credit.placement;
  return credit.fault.expected == value && credit.fault.actual == value && credit.window_index == value &&
         offset == value && layout.outer_size == value && layout.inner_size == value &&
         layout.outer_stride_bytes == value && layout.inner_stride_bytes == value && layout.row_bytes == value &&
         first_row == value && credit.rows == value;
}

TEST(CreditCellTest, IsTakenOnceInItsEpoch) {
  CreditCell cell = {};
  Credit credit;
  EXPECT_EQ(TakeCredit(cell, 5, &credit), CellState::kNotYet);

  PublishCredit(cell, 5, CreditOf(42));

  EXPECT_EQ(TakeCredit(cell, 7, &credit), CellState::kNotYet);
  EXPECT_EQ(TakeCredit(cell, 3, &credit), CellState::kPassed);
  EXPECT_EQ(TakeCredit(cell, 5, &credit), CellState::kReached);
  EXPECT_TRUE(SaysOnly(credit, 42));
  EXPECT_EQ(cell.ticket, MakeTicket(5, CreditState::kClaimed));
}

TEST(CreditCellTest, RevokedIsPassedAndClaimedCannotBeRevoked) {
  CreditCell cell = {};
  Credit credit;
  PublishCredit(cell, 5, CreditOf(1));
  EXPECT_TRUE(RevokeCredit(cell, 5));
  EXPECT_EQ(TakeCredit(cell, 5, &credit), CellState::kPassed);
  EXPECT_EQ(ClaimWithoutCredit(cell, 5), CellState::kPassed);

  PublishCredit(cell, 7, CreditOf(1));
  EXPECT_EQ(TakeCredit(cell, 7, &credit), CellState::kReached);
  EXPECT_FALSE(RevokeCredit(cell, 7));
}

TEST(CreditCellTest, EpochIsClaimedAndRevokedWithoutACredit) {
  CreditCell cell = {};
  EXPECT_EQ(ClaimWithoutCredit(cell, 6), CellState::kReached);
  EXPECT_FALSE(RevokeCredit(cell, 6));

  EXPECT_TRUE(RevokeCredit(cell, 8));
  EXPECT_EQ(ClaimWithoutCredit(cell, 8), CellState::kPassed);
  EXPECT_EQ(ClaimWithoutCredit(cell, 6), CellState::kPassed);
}

TEST(CreditCellTest, ClaimWithoutCreditSurvivesACreditThatComesAfter) {
  CreditCell cell = {};
  ASSERT_EQ(ClaimWithoutCredit(cell, 6), CellState::kReached);
  PublishCredit(cell, 6, CreditOf(1));
  EXPECT_FALSE(RevokeCredit(cell, 6));
}

TEST(CreditCellTest, TicketBeingWrittenIsNeitherTakenNorClaimed) {
  CreditCell cell = {};
  cell.ticket = MakeTicket(6, CreditState::kWriting);
  Credit credit;
  EXPECT_EQ(TakeCredit(cell, 6, &credit), CellState::kNotYet);
  EXPECT_EQ(ClaimWithoutCredit(cell, 6), CellState::kNotYet);
  EXPECT_EQ(TakeCredit(cell, 4, &credit), CellState::kPassed);
}

// The receiver goes through epochs without waiting, as after deadlines; the sender must never take a mix of two.
TEST(CreditCellTest, TakenCreditIsNeverTorn) {
  CreditCell cell = {};
  std::atomic<bool> stop = false;
  std::thread receiver([&] {
    for (std::uint64_t epoch = 2; !stop; epoch += 2) {
      PublishCredit(cell, epoch, CreditOf(static_cast<std::int64_t>(epoch)));
    }
  });
  for (int taken = 0; taken < kReads && !HasFailure();) {
    const std::uint64_t epoch = TicketEpoch(std::atomic_ref(cell.ticket).load());
    Credit credit;
    if (TakeCredit(cell, epoch, &credit) != CellState::kReached) continue;
    ++taken;
    EXPECT_TRUE(SaysOnly(credit, static_cast<std::int64_t>(epoch))) << "epoch " << epoch;
  }
  stop = true;
  receiver.join();
}

TEST(CreditCellTest, EitherClaimOrRevocationWins) {
  CreditCell cell = {};
  for (std::uint64_t epoch = 2; epoch < 500; epoch += 2) {
    // Half of the epochs with a credit, half without.
    const bool with_credit = epoch % 4 == 0;
    if (with_credit) PublishCredit(cell, epoch, CreditOf(1));
    std::atomic<int> ready = 0;
    const auto meet = [&ready] {
      for (++ready; ready < 2;) std::this_thread::yield();
    };
    bool revoked = false;
    std::thread receiver([&] {
      meet();
      revoked = RevokeCredit(cell, epoch);
    });
    meet();
    Credit credit;
    const CellState state = with_credit ? TakeCredit(cell, epoch, &credit) : ClaimWithoutCredit(cell, epoch);
    receiver.join();
    ASSERT_EQ(state == CellState::kReached, !revoked) << "epoch " << epoch;
  }
}

Done DoneOf(std::int64_t value) {
  return {.operation = Operation::kOneShot, .fault = {Fault::kNone, value, value}, .rows = value};
}

TEST(DoneCellTest, IsReadInItsEpoch) {
  DoneCell cell = {};
  Done done;
  EXPECT_EQ(ReadDone(cell, 5, &done), CellState::kNotYet);

  PublishDone(cell, 5, DoneOf(42));

  EXPECT_EQ(ReadDone(cell, 7, &done), CellState::kNotYet);
  EXPECT_EQ(ReadDone(cell, 3, &done), CellState::kPassed);
  EXPECT_EQ(ReadDone(cell, 5, &done), CellState::kReached);
  EXPECT_EQ(done.rows, 42);
  EXPECT_EQ(DoneEpoch(cell), 5u);
}

TEST(DoneCellTest, BeingWrittenIsNotYetForItsEpochAndPassedForEarlierOnes) {
  DoneCell cell = {};
  cell.epoch = 6 | kDoneWriting;
  Done done;
  EXPECT_EQ(ReadDone(cell, 6, &done), CellState::kNotYet);
  EXPECT_EQ(ReadDone(cell, 4, &done), CellState::kPassed);
  EXPECT_EQ(DoneEpoch(cell), 6u);
}

TEST(DoneCellTest, IsNeverTorn) {
  DoneCell cell = {};
  std::atomic<bool> stop = false;
  std::thread sender([&] {
    for (std::uint64_t epoch = 2; !stop; epoch += 2) {
      PublishDone(cell, epoch, DoneOf(static_cast<std::int64_t>(epoch)));
    }
  });
  std::uint64_t last_epoch = 0;
  for (int read = 0; read < kReads && !HasFailure();) {
    const std::uint64_t epoch = DoneEpoch(cell);
    Done done;
    if (ReadDone(cell, epoch, &done) != CellState::kReached || epoch == last_epoch) continue;
    last_epoch = epoch;
    ++read;
    const auto value = static_cast<std::int64_t>(epoch);
    EXPECT_TRUE(done.rows == value && done.fault.expected == value && done.fault.actual == value) << "epoch " << epoch;
  }
  stop = true;
  sender.join();
}

TEST(CellsTest, EpochsBeyond32BitsAreTold) {
  const std::uint64_t epoch = (std::uint64_t{1} << 61) + 5;
  CreditCell credit_cell = {};
  DoneCell done_cell = {};
  Credit credit;
  Done done;
  PublishCredit(credit_cell, epoch, CreditOf(1));
  PublishDone(done_cell, epoch, DoneOf(1));
  EXPECT_EQ(TakeCredit(credit_cell, epoch - (std::uint64_t{1} << 32), &credit), CellState::kPassed);
  EXPECT_EQ(TakeCredit(credit_cell, epoch, &credit), CellState::kReached);
  EXPECT_EQ(ReadDone(done_cell, epoch - (std::uint64_t{1} << 32), &done), CellState::kPassed);
  EXPECT_EQ(ReadDone(done_cell, epoch, &done), CellState::kReached);
}

}  // namespace
}  // namespace a8a::kernels::host
