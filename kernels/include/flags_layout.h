// The flags segment: what the ranks of a group tell each other during all-to-alls.
//
// Every rank owns one flags segment, on its device; all ranks map all of them. Peers store into it, the owner polls
// it, so that a wait reads local memory only. One layout for host and device.
//
//   segment(r) = channel[0] ... channel[channel_count - 1], each
//     ChannelState                              written and read by rank r only
//     CreditCell   credit[2][world_size]        credit[e % 2][p]: written by p as receiver, read by r as sender
//     DoneCell     done[2][world_size]          done[e % 2][p]:   written by p as sender, read by r as receiver
//   and, where block_count > 0, for device kernels, which use no other cells:
//     DeviceChannel                             as ChannelState
//     BlockState   block[block_count]           as ChannelState; each block of the grid has its own copy of the epoch
//     ExchangeCell exchange[2][world_size]      exchange[e % 2][p]: written by p, read by all blocks of r
//     StampedWord  done[2][block_count][world_size]    written by that block of p, read by that block of r
//     uint64       ready[2][block_count][world_size]   the same; a ticket
//   segment(r) ends with a DeviceRank, if block_count > 0.
//
// Two slots, by the parity of the epoch, are enough: rank p starts epoch e + 2 only after `done` of e + 1 came from
// r, so r has finished reading the cells of e; the exception is a rank that gave up waiting, see below. Epochs start
// at 1, so that a zeroed segment holds no valid cell. Flags are never reset.
//
// Memory ordering, a sequence lock per cell: a writer first marks the epoch word (`ticket`, `epoch`) as being written,
// then stores the fields, then the epoch word, fields and word with release; a reader loads the epoch word and the
// fields with acquire and then the epoch word once more (a sender's claim by compare-and-swap is such a load). A
// reader that saw any field of a later epoch sees the mark, or what followed it, in its second load: the writer has
// given up the reader's epoch and gone on, and the reader treats it as abandoned. [Boehm, "Can Seqlocks Get Along with
// Programming Language Memory Models?", MSPC 2012, with ordered field accesses in place of fences]
#ifndef A8A_KERNELS_INCLUDE_FLAGS_LAYOUT_H_
#define A8A_KERNELS_INCLUDE_FLAGS_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "kernels/include/limits.h"

namespace a8a::kernels {

// What an epoch does. Ranks that disagree about an epoch get Fault::kOperationMismatch.
enum class Operation : std::uint32_t { kNone = 0, kOneShot = 1, kPrepare = 2, kPrepared = 3 };

// What went wrong with one pair of ranks in one epoch. Values are shared between ranks: append only. `expected` and
// `actual` travel with the fault, so that both ranks report the same numbers; 0 where not mentioned.
enum class Fault : std::uint32_t {
  kNone = 0,
  kSplitMismatch = 1,      // sender sends `actual` rows, receiver expects `expected`
  kNegativeSplit = 2,      // a split or offset is negative: `actual`, the one for rank `expected`
  kSplitOverflow = 3,      // offset and split do not fit int64 in sum: those for rank `expected`
  kBeyondInput = 4,        // rows up to `actual`, the input view holds `expected`
  kBeyondWindow = 5,       // rows or bytes up to `actual`, the output view or window holds `expected`
  kOverlappingOutput = 6,  // the rows of two sources, ranks `expected` and `actual`, overlap in the output
  kRowBytesMismatch = 7,   // sender's rows have `actual` bytes, receiver's `expected`
  kWindowMismatch = 8,     // sender writes window `actual`, receiver expects `expected`
  kOperationMismatch = 9,  // sender runs Operation `actual`, receiver `expected`
  kDeadline = 10,          // the peer did not come within `expected` ns; its last done is of epoch `actual`
  kAbandoned = 11,         // the peer has given up this epoch before this rank came
  kAborted = 12,           // the group has ended
  kNotPrepared = 13,       // the plan's Prepare failed for this pair, with Fault `actual`
};

// Low two bits of CreditCell::ticket. The receiver opens a credit; the sender claims it before its first store; a
// receiver that gives up revokes it, which fails once it is claimed. So a revoked credit is never written under.
//
// Where a prepared all-to-all needs no credit, the sender claims all the same, from whatever older ticket its cell
// holds, and a receiver that gives up revokes from there: a rank that comes too late finds its peer's ticket revoked
// and stores nothing. The cell is in the sender's own memory, so the claim costs no trip.
enum class CreditState : std::uint64_t { kWriting = 0, kOpen = 1, kClaimed = 2, kRevoked = 3 };

constexpr std::uint64_t MakeTicket(std::uint64_t epoch, CreditState state) {
  return epoch << 2 | static_cast<std::uint64_t>(state);
}
constexpr std::uint64_t TicketEpoch(std::uint64_t ticket) { return ticket >> 2; }
constexpr CreditState TicketState(std::uint64_t ticket) { return static_cast<CreditState>(ticket & 3); }

// Set in DoneCell::epoch, beside the new epoch, while the fields are being written.
inline constexpr std::uint64_t kDoneWriting = std::uint64_t{1} << 63;

// counts[i] of a wait histogram: waits of [2^i, 2^(i+1)) ns; 2^39 ns is over nine minutes.
inline constexpr int kWaitBucketCount = 40;
// ChannelControl from `epoch` to `bytes_received`.
inline constexpr int kChannelCounterCount = 7;

// Receiver to sender: where your rows go and how many are expected. Row q of the output view [outer, inner, row] lies
// at output_offset_bytes + (q / inner_size) * outer_stride_bytes + (q % inner_size) * inner_stride_bytes in the
// receiver's part of the window.
struct alignas(128) CreditCell {
  std::uint64_t ticket;  // epoch << 2 | CreditState
  Operation operation;
  Fault fault;  // not kNone: the receiver refuses this pair; expected and actual say more
  std::int64_t window_index;
  std::int64_t row_bytes;
  std::int64_t output_offset_bytes;
  std::int64_t outer_size;
  std::int64_t inner_size;
  std::int64_t outer_stride_bytes;
  std::int64_t inner_stride_bytes;
  std::int64_t first_row;  // flat index of the sender's first row in the output view
  std::int64_t rows;       // rows expected from the sender
  std::int64_t fault_expected;
  std::int64_t fault_actual;
};
static_assert(sizeof(CreditCell) == 128);

// Sender to receiver: all rows of this epoch are in place (fault kNone), or none are and this is why.
struct alignas(64) DoneCell {
  std::uint64_t epoch;  // with kDoneWriting while it is being written
  Operation operation;
  Fault fault;
  std::int64_t rows;
  std::int64_t fault_expected;
  std::int64_t fault_actual;
};
static_assert(sizeof(DoneCell) == 64);

// A value and the stamp that says which epoch and operation it is of, stored and loaded in one 16-byte access: whoever
// sees the stamp has the value, without a fence. [PTX ISA, st and ld of type .b128]
struct alignas(16) StampedWord {
  std::uint64_t value;
  std::uint64_t stamp;
};
static_assert(sizeof(StampedWord) == 16);

// Of a StampedWord: epoch << 8 | fault << 2 | operation. 56 bits of epoch last 2,000 years at one a microsecond.
constexpr std::uint64_t MakeStamp(std::uint64_t epoch, Operation operation, Fault fault = Fault::kNone) {
  return epoch << 8 | static_cast<std::uint64_t>(fault) << 2 | static_cast<std::uint64_t>(operation);
}
constexpr std::uint64_t StampEpoch(std::uint64_t stamp) { return stamp >> 8; }
constexpr Operation StampOperation(std::uint64_t stamp) { return static_cast<Operation>(stamp & 3); }
constexpr Fault StampFault(std::uint64_t stamp) { return static_cast<Fault>(stamp >> 2 & 63); }

// What a rank tells a peer at the start of a one-shot all-to-all or a Prepare, as receiver and as sender at once, so
// that both ranks of a pair come to the same verdict after one trip. Words are indexed by ExchangeWord.
enum ExchangeWord : int {
  kExchangeFaults,           // receiver's Fault | sender's Fault << 8 | window index << 16
  kExchangeRowBytes,         // of both views
  kExchangeOutputOffset,     // as in CreditCell, from here on
  kExchangeInnerSize,        //
  kExchangeOuterStride,      //
  kExchangeInnerStride,      //
  kExchangeFirstRow,         // with a receiver's fault: its `expected`
  kExchangeRows,             // with a receiver's fault: its `actual`
  kExchangeSendRows,         // with a sender's fault: its `expected`
  kExchangeSendFaultActual,  // with a sender's fault: its `actual`
  kExchangeWordCount,
};
struct alignas(32) ExchangeCell {
  StampedWord words[kExchangeWordCount];
};
static_assert(sizeof(ExchangeCell) == 160);

// What one block of a channel's grid remembers.
struct alignas(64) BlockState {
  std::uint64_t epoch;
  std::int64_t last_window_plus1;
};
static_assert(sizeof(BlockState) == 64);

// What the blocks of a channel's grid share. The counters are those of ChannelControl, which is host memory and too
// far away to be added to: kernels add here and store the sums there.
struct alignas(128) DeviceChannel {
  std::uint64_t gave_up_epoch;  // the last in which this rank did not hear from everybody
  std::uint64_t settled_epoch;  // the last that every rank is known to have finished after somebody gave up
  std::uint64_t revoked_epoch;  // by peers: the last for which one of them has revoked a ticket of this rank
  std::uint64_t error_epoch;    // the last with an error
  std::uint32_t error_lock;
  std::uint32_t error_class;    // of the error told in error_epoch; the lower the plainer
  std::uint64_t counted_epoch;  // the last prepared all-to-all that is in the counters
  alignas(64) std::uint64_t counters[kChannelCounterCount];
  std::uint64_t wait_sums[2];  // credit_wait, done_wait
  std::uint64_t wait_counts[2][kWaitBucketCount];
  std::int32_t wait_dirty[2][2];  // [epoch % 2][kind]: bucket + 1 that the control segment has not seen yet
};

// What the channels of a rank share, for the same reason: WindowCounters by window.
struct alignas(128) DeviceRank {
  std::uint64_t windows[kMaxWindows][4];
};

// The owner's own memory of a channel.
struct alignas(64) ChannelState {
  std::uint64_t epoch;             // of the operation started last; 0 before the first
  std::int64_t last_window_plus1;  // window index + 1 that the last all-to-all wrote to, Prepare apart; 0: none
  // The last that this rank gave up while a peer was in the middle of its copy, until that peer says done; 0: none.
  std::uint64_t unsettled_epoch;
};
static_assert(sizeof(ChannelState) == 64);

// Offsets within a flags segment, in bytes. Equal on all ranks of a group.
struct FlagsLayout {
  int world_size;
  int channel_count;
  int block_count;  // blocks of a channel's grid on a device; 0 on the host

  [[nodiscard]] constexpr std::size_t StateOffset(int channel) const { return channel_bytes() * Index(channel); }
  [[nodiscard]] constexpr std::size_t CreditOffset(int channel, std::uint64_t epoch, int peer) const {
    return StateOffset(channel) + kCreditsStart + (epoch % 2 * Index(world_size) + Index(peer)) * sizeof(CreditCell);
  }
  [[nodiscard]] constexpr std::size_t DoneOffset(int channel, std::uint64_t epoch, int peer) const {
    return StateOffset(channel) + dones_start() + (epoch % 2 * Index(world_size) + Index(peer)) * sizeof(DoneCell);
  }
  // The rest exists where block_count > 0.
  [[nodiscard]] constexpr std::size_t DeviceChannelOffset(int channel) const {
    return StateOffset(channel) + device_start();
  }
  [[nodiscard]] constexpr std::size_t BlockStateOffset(int channel, int block) const {
    return StateOffset(channel) + blocks_start() + Index(block) * sizeof(BlockState);
  }
  [[nodiscard]] constexpr std::size_t ExchangeOffset(int channel, std::uint64_t epoch, int peer) const {
    return StateOffset(channel) + exchanges_start() +
           (epoch % 2 * Index(world_size) + Index(peer)) * sizeof(ExchangeCell);
  }
  [[nodiscard]] constexpr std::size_t BlockDoneOffset(int channel, std::uint64_t epoch, int block, int peer) const {
    return StateOffset(channel) + block_dones_start() + BlockWord(epoch, block, peer) * sizeof(StampedWord);
  }
  [[nodiscard]] constexpr std::size_t BlockReadyOffset(int channel, std::uint64_t epoch, int block, int peer) const {
    return StateOffset(channel) + block_readies_start() + BlockWord(epoch, block, peer) * sizeof(std::uint64_t);
  }
  [[nodiscard]] constexpr std::size_t DeviceRankOffset() const { return channel_bytes() * Index(channel_count); }
  [[nodiscard]] constexpr std::size_t size_bytes() const {
    return DeviceRankOffset() + (block_count > 0 ? sizeof(DeviceRank) : 0);
  }

 private:
  // A multiple of the largest cell alignment, so that cells start aligned.
  static constexpr std::size_t kCreditsStart = alignof(CreditCell);
  static_assert(kCreditsStart >= sizeof(ChannelState));
  static_assert(alignof(DeviceChannel) == alignof(CreditCell) && alignof(DeviceRank) == alignof(CreditCell));
  static constexpr std::size_t Index(int value) { return static_cast<std::size_t>(value); }
  static constexpr std::size_t RoundUp(std::size_t value) {
    return (value + alignof(CreditCell) - 1) / alignof(CreditCell) * alignof(CreditCell);
  }

  [[nodiscard]] constexpr std::size_t BlockWord(std::uint64_t epoch, int block, int peer) const {
    return (epoch % 2 * Index(block_count) + Index(block)) * Index(world_size) + Index(peer);
  }
  [[nodiscard]] constexpr std::size_t dones_start() const {
    return kCreditsStart + 2 * Index(world_size) * sizeof(CreditCell);
  }
  [[nodiscard]] constexpr std::size_t device_start() const {
    return RoundUp(dones_start() + 2 * Index(world_size) * sizeof(DoneCell));
  }
  [[nodiscard]] constexpr std::size_t blocks_start() const { return device_start() + sizeof(DeviceChannel); }
  [[nodiscard]] constexpr std::size_t exchanges_start() const {
    return blocks_start() + Index(block_count) * sizeof(BlockState);
  }
  [[nodiscard]] constexpr std::size_t block_dones_start() const {
    return exchanges_start() + 2 * Index(world_size) * sizeof(ExchangeCell);
  }
  [[nodiscard]] constexpr std::size_t block_readies_start() const {
    return block_dones_start() + BlockWord(0, 2 * block_count, 0) * sizeof(StampedWord);
  }
  [[nodiscard]] constexpr std::size_t channel_bytes() const {
    if (block_count == 0) return device_start();
    return RoundUp(block_readies_start() + BlockWord(0, 2 * block_count, 0) * sizeof(std::uint64_t));
  }
};

}  // namespace a8a::kernels

#endif  // A8A_KERNELS_INCLUDE_FLAGS_LAYOUT_H_
