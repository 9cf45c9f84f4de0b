// Publishing, reading, claiming and revoking the cells of flags_layout.h, which states their memory ordering.
//
// A cell is in memory that a peer can write at any time, with anything: what is read here is a private copy, and the
// caller checks it before use.
#ifndef A8A_KERNELS_HOST_CELLS_H_
#define A8A_KERNELS_HOST_CELLS_H_

#include <cstdint>

#include "kernels/host/fault.h"
#include "kernels/include/all_to_all.h"
#include "kernels/include/flags_layout.h"

namespace a8a::kernels::host {

// Where a sender's rows go in the receiver's part of the window.
struct Placement {
  std::int64_t output_offset_bytes = 0;
  RowLayout layout;
  std::int64_t first_row = 0;
};

// The fields of a CreditCell, ticket apart.
struct Credit {
  Operation operation = Operation::kNone;
  FaultInfo fault;
  std::int64_t window_index = 0;
  Placement placement;
  std::int64_t rows = 0;
};

// The fields of a DoneCell, epoch apart.
struct Done {
  Operation operation = Operation::kNone;
  FaultInfo fault;
  std::int64_t rows = 0;
};

// A cell, seen from one epoch.
enum class CellState {
  kNotYet,   // of an earlier epoch, or being written
  kReached,  // of this epoch
  kPassed,   // its writer has given up this epoch
};

// Opens a credit for `epoch`. Where the sender has claimed this epoch without a credit, its claim stays.
void PublishCredit(CreditCell& cell, std::uint64_t epoch, const Credit& credit);

// Whether the receiver has opened `epoch`, and if so, claims it and copies the fields into `credit`.
[[nodiscard]] CellState TakeCredit(CreditCell& cell, std::uint64_t epoch, Credit* credit);

// Claims `epoch` whether or not the receiver has opened it: kReached, or kPassed if the receiver has given up, or
// kNotYet if it is opening the credit just now.
[[nodiscard]] CellState ClaimWithoutCredit(CreditCell& cell, std::uint64_t epoch);

// The receiver gives up. False: the sender has claimed `epoch` and may be storing.
[[nodiscard]] bool RevokeCredit(CreditCell& cell, std::uint64_t epoch);
// Whether the sender has claimed `epoch`, and the cell holds no later one.
[[nodiscard]] bool IsClaimed(CreditCell& cell, std::uint64_t epoch);

void PublishDone(DoneCell& cell, std::uint64_t epoch, const Done& done);

[[nodiscard]] CellState ReadDone(DoneCell& cell, std::uint64_t epoch, Done* done);

// The newest epoch of the cell: its writer has published it, or is about to. What the writer did before is seen.
[[nodiscard]] std::uint64_t DoneEpoch(DoneCell& cell);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_CELLS_H_
