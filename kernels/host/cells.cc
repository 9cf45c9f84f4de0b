#include "kernels/host/cells.h"

#include <atomic>

namespace a8a::kernels::host {
namespace {

// Rounds in which a ticket may change under an honest peer: its claim of an older epoch, and of this one. More means
// that somebody writes nonsense; then the ticket counts as claimed, the careful answer.
constexpr int kMaxTicketRounds = 4;

// Fields are stored with release and loaded with acquire (see flags_layout.h); on x86 both are plain moves.
template <typename T>
void Store(T& field, T value) {
  std::atomic_ref<T>(field).store(value, std::memory_order_release);
}

template <typename T>
T Load(T& field) {
  return std::atomic_ref<T>(field).load(std::memory_order_acquire);
}

std::atomic_ref<std::uint64_t> TicketOf(CreditCell& cell) { return std::atomic_ref<std::uint64_t>(cell.ticket); }

bool Replace(CreditCell& cell, std::uint64_t seen, std::uint64_t ticket) {
  return TicketOf(cell).compare_exchange_strong(seen, ticket, std::memory_order_acq_rel, std::memory_order_relaxed);
}

void StoreCredit(CreditCell& cell, const Credit& credit) {
  Store(cell.operation, credit.operation);
  Store(cell.fault, credit.fault.fault);
  Store(cell.fault_expected, credit.fault.expected);
  Store(cell.fault_actual, credit.fault.actual);
  Store(cell.window_index, credit.window_index);
  Store(cell.row_bytes, credit.placement.layout.row_bytes);
  Store(cell.output_offset_bytes, credit.placement.output_offset_bytes);
  Store(cell.outer_size, credit.placement.layout.outer_size);
  Store(cell.inner_size, credit.placement.layout.inner_size);
  Store(cell.outer_stride_bytes, credit.placement.layout.outer_stride_bytes);
  Store(cell.inner_stride_bytes, credit.placement.layout.inner_stride_bytes);
  Store(cell.first_row, credit.placement.first_row);
  Store(cell.rows, credit.rows);
}

Credit LoadCredit(CreditCell& cell) {
  Credit credit;
  credit.operation = Load(cell.operation);
  credit.fault = {.fault = Load(cell.fault), .expected = Load(cell.fault_expected), .actual = Load(cell.fault_actual)};
  credit.window_index = Load(cell.window_index);
  credit.placement.output_offset_bytes = Load(cell.output_offset_bytes);
  credit.placement.layout = {.outer_size = Load(cell.outer_size),
                             .inner_size = Load(cell.inner_size),
                             .outer_stride_bytes = Load(cell.outer_stride_bytes),
                             .inner_stride_bytes = Load(cell.inner_stride_bytes),
                             .row_bytes = Load(cell.row_bytes)};
  credit.placement.first_row = Load(cell.first_row);
  credit.rows = Load(cell.rows);
  return credit;
}

// Open and being written: the sender's turn is now or soon. Claimed is the sender's own doing; it does not ask again.
CellState StateOf(std::uint64_t ticket, std::uint64_t epoch) {
  if (TicketEpoch(ticket) < epoch) return CellState::kNotYet;
  if (TicketEpoch(ticket) > epoch) return CellState::kPassed;
  switch (TicketState(ticket)) {
    case CreditState::kWriting:
      return CellState::kNotYet;
    case CreditState::kOpen:
      return CellState::kReached;
    case CreditState::kClaimed:
    case CreditState::kRevoked:
      break;
  }
  return CellState::kPassed;
}

}  // namespace

void PublishCredit(CreditCell& cell, std::uint64_t epoch, const Credit& credit) {
  const std::uint64_t claimed = MakeTicket(epoch, CreditState::kClaimed);
  const std::uint64_t writing = MakeTicket(epoch, CreditState::kWriting);
  if (TicketOf(cell).exchange(writing, std::memory_order_acq_rel) == claimed) {
    TicketOf(cell).store(claimed, std::memory_order_release);
    return;
  }
  StoreCredit(cell, credit);
  TicketOf(cell).store(MakeTicket(epoch, CreditState::kOpen), std::memory_order_release);
}

CellState TakeCredit(CreditCell& cell, std::uint64_t epoch, Credit* credit) {
  const std::uint64_t seen = Load(cell.ticket);
  const CellState state = StateOf(seen, epoch);
  if (state != CellState::kReached) return state;
  *credit = LoadCredit(cell);
  // An open ticket leaves this state only by revocation or by a later epoch: the fields above may be torn then.
  return Replace(cell, seen, MakeTicket(epoch, CreditState::kClaimed)) ? CellState::kReached : CellState::kPassed;
}

CellState ClaimWithoutCredit(CreditCell& cell, std::uint64_t epoch) {
  for (int round = 0; round < kMaxTicketRounds; ++round) {
    const std::uint64_t seen = Load(cell.ticket);
    const CellState state = StateOf(seen, epoch);
    if (state == CellState::kPassed) return state;
    // A claim now would be lost under the receiver's last store.
    if (seen == MakeTicket(epoch, CreditState::kWriting)) return CellState::kNotYet;
    // A receiver that opens this epoch from here on finds the claim and leaves it.
    if (Replace(cell, seen, MakeTicket(epoch, CreditState::kClaimed))) return CellState::kReached;
  }
  return CellState::kPassed;
}

bool RevokeCredit(CreditCell& cell, std::uint64_t epoch) {
  const std::uint64_t claimed = MakeTicket(epoch, CreditState::kClaimed);
  for (int round = 0; round < kMaxTicketRounds; ++round) {
    const std::uint64_t seen = Load(cell.ticket);
    if (seen == claimed || TicketEpoch(seen) > epoch) return false;
    if (Replace(cell, seen, MakeTicket(epoch, CreditState::kRevoked))) return true;
  }
  return false;
}

bool IsClaimed(CreditCell& cell, std::uint64_t epoch) {
  return Load(cell.ticket) == MakeTicket(epoch, CreditState::kClaimed);
}

void PublishDone(DoneCell& cell, std::uint64_t epoch, const Done& done) {
  // The release of each field carries the mark to whoever sees the field. The mark itself is a release for DoneEpoch.
  Store(cell.epoch, epoch | kDoneWriting);
  Store(cell.operation, done.operation);
  Store(cell.fault, done.fault.fault);
  Store(cell.rows, done.rows);
  Store(cell.fault_expected, done.fault.expected);
  Store(cell.fault_actual, done.fault.actual);
  Store(cell.epoch, epoch);
}

CellState ReadDone(DoneCell& cell, std::uint64_t epoch, Done* done) {
  const std::uint64_t seen = Load(cell.epoch);
  if ((seen & ~kDoneWriting) > epoch) return CellState::kPassed;
  if (seen != epoch) return CellState::kNotYet;
  done->operation = Load(cell.operation);
  done->rows = Load(cell.rows);
  done->fault = {.fault = Load(cell.fault), .expected = Load(cell.fault_expected), .actual = Load(cell.fault_actual)};
  // Relaxed: ordered after the acquire loads above.
  const std::uint64_t again = std::atomic_ref<std::uint64_t>(cell.epoch).load(std::memory_order_relaxed);
  return again == seen ? CellState::kReached : CellState::kPassed;
}

std::uint64_t DoneEpoch(DoneCell& cell) { return Load(cell.epoch) & ~kDoneWriting; }

}  // namespace a8a::kernels::host
