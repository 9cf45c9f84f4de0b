// The exchange that opens a one-shot all-to-all and a Prepare: every rank tells every peer what it expects and what it
// sends, and both ranks of a pair come to the same verdict. A peer is never trusted: a placement that passes leads no
// store outside the peer's part of the window.
#ifndef A8A_KERNELS_CUDA_EXCHANGE_DEVICE_CUH_
#define A8A_KERNELS_CUDA_EXCHANGE_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/copy_device.cuh"
#include "kernels/cuda/epoch_device.cuh"
#include "kernels/cuda/splits_device.cuh"

namespace a8a::kernels::cuda {

// What this rank and its peers have said, in shared memory. words[p] came from p; the own ones are at [rank].
struct Exchange {
  SplitTable input;
  SplitTable output;
  std::uint64_t words[kMaxWorldSize][kExchangeWordCount];
  Operation operations[kMaxWorldSize];
  std::uint64_t late;      // peers whose cell did not come
  std::uint64_t passed;    // peers whose cell is of a later epoch
  std::uint64_t mismatch;  // peers that run an operation without a cell
  std::uint32_t aborted;
};

__device__ inline std::uint64_t FaultsWord(const Exchange& exchange, int window_index) {
  return static_cast<std::uint64_t>(exchange.output.fault.fault) |
         static_cast<std::uint64_t>(exchange.input.fault.fault) << 8 | static_cast<std::uint64_t>(window_index) << 16;
}
__device__ inline Fault ReceiverFault(const std::uint64_t* words) {
  return static_cast<Fault>(words[kExchangeFaults] & 0xff);
}
__device__ inline Fault SenderFault(const std::uint64_t* words) {
  return static_cast<Fault>(words[kExchangeFaults] >> 8 & 0xff);
}
__device__ inline std::int64_t WindowIndex(const std::uint64_t* words) {
  return static_cast<std::int64_t>(words[kExchangeFaults] >> 16);
}
__device__ inline std::int64_t Word(const std::uint64_t* words, ExchangeWord word) {
  return static_cast<std::int64_t>(words[word]);
}

// What this rank says to `peer`.
__device__ inline std::uint64_t OwnWord(const ExchangeArgs& args, const Exchange& exchange, int peer, int word) {
  const FaultInfo& receiver = exchange.output.fault;
  const FaultInfo& sender = exchange.input.fault;
  const auto unsigned_of = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  switch (word) {
    case kExchangeFaults:
      return FaultsWord(exchange, args.window_index);
    case kExchangeRowBytes:
      return unsigned_of(args.output_layout.row_bytes);
    case kExchangeOutputOffset:
      return unsigned_of(args.output_offset_bytes);
    case kExchangeInnerSize:
      return unsigned_of(args.output_layout.inner_size);
    case kExchangeOuterStride:
      return unsigned_of(args.output_layout.outer_stride_bytes);
    case kExchangeInnerStride:
      return unsigned_of(args.output_layout.inner_stride_bytes);
    case kExchangeFirstRow:
      return unsigned_of(receiver.ok() ? exchange.output.first_row[peer] : receiver.expected);
    case kExchangeRows:
      return unsigned_of(receiver.ok() ? exchange.output.rows[peer] : receiver.actual);
    case kExchangeSendRows:
      return unsigned_of(sender.ok() ? exchange.input.rows[peer] : sender.expected);
    default:
      return unsigned_of(sender.ok() ? 0 : sender.actual);
  }
}

// Where rows [first_row, first_row + rows) of a receiver's view end in its part of the window, if they fit int64. No
// honest word is larger than the largest buffer; below that, products fit 128 bits and sums 64.
__device__ inline bool EndOfRows(const std::uint64_t* receiver, std::int64_t first_row, std::int64_t rows,
                                 std::int64_t* end) {
  constexpr auto kMost = static_cast<std::uint64_t>(kMaxBufferBytes);
  const std::int64_t inner_size = Word(receiver, kExchangeInnerSize);
  const std::uint64_t largest = receiver[kExchangeRowBytes] | receiver[kExchangeOutputOffset] |
                                receiver[kExchangeOuterStride] | receiver[kExchangeInnerStride] |
                                static_cast<std::uint64_t>(first_row) | static_cast<std::uint64_t>(rows);
  // Bits, not values: at most twice the largest buffer passes.
  if (largest >= 2 * kMost || inner_size <= 0) return false;
  std::int64_t first_outer = 0;
  std::int64_t first_inner = 0;
  std::int64_t last_outer = 0;
  std::int64_t last_inner = 0;
  DivideSteps(first_row, inner_size, &first_outer, &first_inner);
  DivideSteps(first_row + rows - 1, inner_size, &last_outer, &last_inner);
  if (first_outer != last_outer) last_inner = inner_size - 1;
  const auto wide = static_cast<unsigned __int128>(last_outer) * receiver[kExchangeOuterStride] +
                    static_cast<unsigned __int128>(last_inner) * receiver[kExchangeInnerStride] +
                    receiver[kExchangeOutputOffset] + receiver[kExchangeRowBytes];
  *end = static_cast<std::int64_t>(wide);
  return wide <= static_cast<unsigned __int128>(INT64_MAX);
}

// One side of a pair: its rank's words and operation, and the rows it names for the other.
struct PairSide {
  const std::uint64_t* words;
  Operation operation;
  std::int64_t rows;
  std::int64_t first_row;  // of the receiver, in its output view
};

// The same on both ranks, from the same words. The numbers of the two ranks' own faults are where their rows would be.
__device__ inline FaultInfo CheckPair(const PairSide& sender, const PairSide& receiver, std::int64_t window_bytes) {
  if (sender.operation != receiver.operation) {
    return {Fault::kOperationMismatch, static_cast<std::int64_t>(receiver.operation),
            static_cast<std::int64_t>(sender.operation)};
  }
  if (SenderFault(sender.words) != Fault::kNone) {
    return {SenderFault(sender.words), Word(sender.words, kExchangeSendRows),
            Word(sender.words, kExchangeSendFaultActual)};
  }
  if (ReceiverFault(receiver.words) != Fault::kNone) {
    return {ReceiverFault(receiver.words), Word(receiver.words, kExchangeFirstRow),
            Word(receiver.words, kExchangeRows)};
  }
  if (WindowIndex(sender.words) != WindowIndex(receiver.words)) {
    return {Fault::kWindowMismatch, WindowIndex(receiver.words), WindowIndex(sender.words)};
  }
  if (sender.words[kExchangeRowBytes] != receiver.words[kExchangeRowBytes]) {
    return {Fault::kRowBytesMismatch, Word(receiver.words, kExchangeRowBytes), Word(sender.words, kExchangeRowBytes)};
  }
  if (sender.rows != receiver.rows) return {Fault::kSplitMismatch, receiver.rows, sender.rows};
  if (sender.rows == 0) return {Fault::kNone, 0, 0};
  std::int64_t end = INT64_MAX;
  const bool representable = EndOfRows(receiver.words, receiver.first_row, sender.rows, &end);
  if (!representable) return {Fault::kBeyondWindow, window_bytes, INT64_MAX};
  if (end > window_bytes) return {Fault::kBeyondWindow, window_bytes, end};
  return {Fault::kNone, 0, 0};
}

__device__ inline void PublishOffers(const Channel& channel, const ExchangeArgs& args, const Exchange& exchange,
                                     std::uint64_t epoch, Operation operation) {
  const int count = channel.world_size * kExchangeWordCount;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const int peer = i / kExchangeWordCount;
    const int word = i % kExchangeWordCount;
    if (peer == channel.rank) continue;
    StoreRelaxed(&channel.ExchangeTo(args.group.flags[peer], epoch)->words[word],
                 {OwnWord(args, exchange, peer, word), MakeStamp(epoch, operation)});
  }
}

// Whether a peer that shows no cell runs a prepared all-to-all, which has none.
__device__ inline bool RunsWithoutCell(const Channel& channel, int peer, std::uint64_t epoch) {
  const std::uint64_t stamp = LoadAcquire(&channel.DoneFrom(peer, epoch, channel.block)->stamp);
  return StampEpoch(stamp) == epoch && StampOperation(stamp) == Operation::kPrepared;
}

__device__ inline void SetBit(std::uint64_t* mask, int bit) {
  atomicOr(reinterpret_cast<unsigned long long*>(mask), 1ull << bit);
}

// One word of one peer's cell.
__device__ inline void TakeWord(const Channel& channel, Waiter& waiter, Exchange* exchange, std::uint64_t epoch,
                                int peer, int word) {
  // The done word is local memory too; looked at less often than the cell all the same.
  constexpr int kPollsPerDoneCheck = 16;
  const StampedWord* from = &channel.ExchangeFrom(peer, epoch)->words[word];
  StampedWord seen = LoadAcquire(from);
  for (int polls = 1; StampEpoch(seen.stamp) < epoch; ++polls) {
    if (polls % kPollsPerDoneCheck == 0 && RunsWithoutCell(channel, peer, epoch)) {
      return SetBit(&exchange->mismatch, peer);
    }
    const Fault fault = waiter.Pause();
    if (fault == Fault::kAborted) exchange->aborted = 1;
    if (fault != Fault::kNone) return SetBit(&exchange->late, peer);
    seen = LoadAcquire(from);
  }
  if (StampEpoch(seen.stamp) > epoch) SetBit(&exchange->passed, peer);
  exchange->words[peer][word] = seen.value;
  if (word == 0) exchange->operations[peer] = StampOperation(seen.stamp);
}

__device__ inline void TakeOffers(const Channel& channel, Waiter& waiter, const ExchangeArgs& args, Exchange* exchange,
                                  std::uint64_t epoch, Operation operation) {
  const int count = channel.world_size * kExchangeWordCount;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const int peer = i / kExchangeWordCount;
    const int word = i % kExchangeWordCount;
    if (peer != channel.rank) {
      TakeWord(channel, waiter, exchange, epoch, peer, word);
    } else {
      exchange->words[peer][word] = OwnWord(args, *exchange, peer, word);
      if (word == 0) exchange->operations[peer] = operation;
    }
  }
}

// How the flat rows [first_row, first_row + rows) of a view go by, from `origin` on.
__device__ __forceinline__ RowSteps StepsOf(std::int64_t origin, std::int64_t inner_size, std::int64_t outer_stride,
                                            std::int64_t inner_stride, std::int64_t first_row, std::int64_t rows) {
  constexpr std::int64_t kNever = std::int64_t{1} << 62;
  std::int64_t outer = 0;
  std::int64_t inner = 0;
  DivideSteps(first_row, inner_size, &outer, &inner);
  const std::int64_t base = origin + outer * outer_stride + inner * inner_stride;
  if (inner_size == 1) return {base, outer_stride, kNever, 0, 0};
  // Not inner_size * inner_stride: a peer's inner_size may be anything.
  const bool one_run = rows <= inner_size - inner;
  const std::int64_t jump = one_run ? 0 : outer_stride - inner_size * inner_stride;
  if (jump == 0) return {base, inner_stride, kNever, 0, 0};
  return {base, inner_stride, inner_size, inner, jump};
}

__device__ inline bool IsAffine(const RowSteps& steps) { return steps.jump == 0; }

__device__ inline CopyKind KindOf(const SendPair& pair, std::int64_t rows, std::int64_t row_bytes) {
  if (!IsAffine(pair.from) || !IsAffine(pair.to)) return CopyKind::kStepped;
  const bool contiguous = pair.from.stride == row_bytes && pair.to.stride == row_bytes;
  return rows == 1 || contiguous ? CopyKind::kLinear : CopyKind::kAffine;
}

// The rows to `peer`, at their place in the order of distance. Requires a pair without fault, or zero rows.
__device__ inline SendPair MakeSendPair(const ExchangeArgs& args, const Exchange& exchange, int peer,
                                        std::int64_t rows) {
  SendPair pair = {};
  pair.peer = peer;
  if (rows == 0) return pair;
  const RowLayout& input = args.input_layout;
  // For this rank itself: what it tells itself.
  const std::uint64_t* to = exchange.words[peer];
  pair.size_bytes = rows * input.row_bytes;
  pair.from = StepsOf(0, input.inner_size, input.outer_stride_bytes, input.inner_stride_bytes,
                      exchange.input.first_row[peer], rows);
  pair.to = StepsOf(reinterpret_cast<std::int64_t>(args.window_base[peer]) + Word(to, kExchangeOutputOffset),
                    Word(to, kExchangeInnerSize), Word(to, kExchangeOuterStride), Word(to, kExchangeInnerStride),
                    Word(to, kExchangeFirstRow), rows);
  pair.kind = KindOf(pair, rows, input.row_bytes);
  std::int64_t bits = pair.from.base | pair.to.base;
  if (pair.kind != CopyKind::kLinear) {
    bits |= input.row_bytes | pair.from.stride | pair.to.stride | pair.from.jump | pair.to.jump;
  }
  pair.alignment_bits = static_cast<std::uint32_t>(bits & 15);
  return pair;
}

// What is wrong with the exchange itself, seen from here: the peer did not tell, or not in this epoch. `missing` is set
// where there are no words to look at.
__device__ inline FaultInfo FaultOfExchange(const Exchange& exchange, int rank, int peer, bool as_sender,
                                            bool* missing) {
  const std::uint64_t bit = std::uint64_t{1} << peer;
  *missing = ((exchange.late | exchange.mismatch | exchange.passed) & bit) != 0 || exchange.aborted != 0;
  if (exchange.mismatch & bit) {
    const auto theirs = static_cast<std::int64_t>(Operation::kPrepared);
    const auto mine = static_cast<std::int64_t>(exchange.operations[rank]);
    return {Fault::kOperationMismatch, as_sender ? theirs : mine, as_sender ? mine : theirs};
  }
  if (exchange.passed & bit) return {Fault::kAbandoned, 0, 0};
  return {Fault::kNone, 0, 0};
}

// The verdict on the rows to (`as_sender`) or from `peer`, which may be this rank itself. Called for both directions;
// one copy of its code is enough.
__device__ __forceinline__ FaultInfo JudgePair(const ExchangeArgs& args, const Exchange& exchange, int peer,
                                               bool as_sender) {
  const int rank = args.group.rank;
  bool missing = false;
  const FaultInfo fault = FaultOfExchange(exchange, rank, peer, as_sender, &missing);
  if (missing) return fault;
  const int from = as_sender ? rank : peer;
  const int to = as_sender ? peer : rank;
  // This rank's words at [rank] are those for itself; what it tells others differs in rows and first row.
  PairSide sender = {exchange.words[from], exchange.operations[from], exchange.input.rows[to], 0};
  PairSide receiver = {exchange.words[to], exchange.operations[to], exchange.output.rows[from],
                       exchange.output.first_row[from]};
  if (from != rank) sender.rows = Word(sender.words, kExchangeSendRows);
  if (to != rank) {
    receiver.rows = Word(receiver.words, kExchangeRows);
    receiver.first_row = Word(receiver.words, kExchangeFirstRow);
  }
  return CheckPair(sender, receiver, args.window_size_bytes[to]);
}

// By one thread for each rank and direction. What is known already stays: that the peer was late, or has given up.
__device__ inline void JudgeSend(const ExchangeArgs& args, const Exchange& exchange, int peer, PeerTable* peers) {
  if (peers->send[peer].ok()) peers->send[peer] = JudgePair(args, exchange, peer, /*as_sender=*/true);
  peers->send_rows[peer] = peers->send[peer].ok() ? exchange.input.rows[peer] : 0;
}
__device__ inline void JudgeReceive(const ExchangeArgs& args, const Exchange& exchange, int peer, PeerTable* peers) {
  if (peers->receive[peer].ok()) peers->receive[peer] = JudgePair(args, exchange, peer, /*as_sender=*/false);
  peers->receive_rows[peer] = peers->receive[peer].ok() ? exchange.output.rows[peer] : 0;
}

// What both kernels hold in shared memory.
struct ExchangeShared {
  PeerTable peers;
  Exchange exchange;
  SendPair pairs[kMaxWorldSize];
  Outlook outlook;
  std::int64_t total_bytes;
  std::int64_t block_bytes;
  std::int64_t rows_sent;
  std::int64_t rows_received;
};

__device__ inline void PreparePeers(const ExchangeArgs& args, PeerTable* peers) {
  for (int rank = Lane(); rank < args.group.world_size; rank += kWarpSize) {
    peers->segment[rank] = args.group.flags[rank];
    peers->send[rank] = peers->receive[rank] = {Fault::kNone, 0, 0};
  }
  if (Lane() == 0) {
    peers->aborted = peers->own[0] = peers->own[1] = {Fault::kNone, 0, 0};
    peers->unwritable = 0;
  }
}

// Phase 1 of both kernels: enters the epoch, reads the splits.
__device__ inline void EnterWithSplits(const Channel& channel, Waiter& waiter, const ExchangeArgs& args,
                                       ExchangeShared* shared) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  Exchange* exchange = &shared->exchange;
  if (warp == 0) {
    const Outlook seen = LookAround(channel, args.window_index + 1, /*takes_ready=*/false);
    if (Lane() == 0) shared->outlook = seen;
  } else if (warp == 1) {
    ReadSplits({args.splits.input, args.splits.input_offsets, args.splits.type, args.input_rows, Fault::kBeyondInput},
               args.group.world_size, &exchange->input);
  } else if (warp == 2) {
    ReadSplits(
        {args.splits.output, args.splits.output_offsets, args.splits.type, args.output_rows, Fault::kBeyondWindow},
        args.group.world_size, &exchange->output);
  } else if (warp == 3) {
    PreparePeers(args, &shared->peers);
    if (Lane() == 0) {
      exchange->late = exchange->passed = exchange->mismatch = 0;
      exchange->aborted = 0;
    }
  }
  __syncthreads();
  if (!shared->outlook.fine) {
    if (warp == 0) {
      waiter = EnterSlowly(channel, waiter, &shared->peers, shared->outlook, args.timeout_ns);
      __syncwarp();
      if (Lane() == 0) exchange->aborted = shared->peers.aborted.ok() ? 0 : 1;
    }
    __syncthreads();
  }
  if (args.splits.output_offsets != nullptr) FindOverlap(args.group.world_size, &exchange->output);
}

// After the verdicts: sums over all ranks, each by one thread.
__device__ inline void PlacePairs(const Channel& channel, ExchangeShared* shared) {
  std::int64_t total_bytes = 0;
  for (int i = 0; i < channel.world_size; ++i) {
    shared->pairs[i].begin_bytes = total_bytes;
    total_bytes += shared->pairs[i].size_bytes;
  }
  shared->total_bytes = total_bytes;
  shared->block_bytes = BlockBytes(total_bytes, channel.block_count);
}
__device__ inline void SumRows(const Channel& channel, ExchangeShared* shared) {
  std::int64_t sent = 0;
  std::int64_t received = 0;
  for (int rank = 0; rank < channel.world_size; ++rank) {
    if (!(shared->peers.unwritable >> rank & 1)) sent += shared->peers.send_rows[rank];
    received += shared->peers.receive_rows[rank];
  }
  shared->rows_sent = sent;
  shared->rows_received = received;
}

__device__ inline void NoteLateOffer(const Channel& channel, const ExchangeArgs& args, int peer,
                                     ExchangeShared* shared) {
  const FaultInfo deadline = DeadlineOf(channel, peer, args.timeout_ns);
  if (shared->peers.send[peer].ok()) shared->peers.send[peer] = deadline;
  if (shared->peers.receive[peer].ok()) shared->peers.receive[peer] = deadline;
}

// Phase 2 of both: the exchange, and what follows from it for every pair. `publishes`: this block speaks for the rank.
__device__ inline void ExchangeOffers(const Channel& channel, Waiter& waiter, const ExchangeArgs& args,
                                      Operation operation, bool publishes, ExchangeShared* shared) {
  Exchange* exchange = &shared->exchange;
  const int world_size = args.group.world_size;
  const int thread = static_cast<int>(threadIdx.x);
  const std::uint64_t epoch = shared->outlook.epoch.number;
  // A rank that may not let its peers write gives no offer; they find out by its done.
  const bool open = shared->peers.unwritable == 0;
  if (open && publishes) PublishOffers(channel, args, *exchange, epoch, operation);
  TakeOffers(channel, waiter, args, exchange, epoch, operation);
  __syncthreads();
  if (exchange->late != 0 && exchange->aborted == 0) {
    if (thread < world_size && (exchange->late >> thread & 1)) NoteLateOffer(channel, args, thread, shared);
    if (thread < kWarpSize) RevokeLate(channel, shared->peers, epoch, exchange->late);
    __syncthreads();
  }

  // Sends and receives by different warps.
  if (thread < world_size) {
    JudgeSend(args, *exchange, thread, &shared->peers);
    const bool closed = !open || exchange->aborted != 0 || !shared->peers.send[thread].ok();
    const int place = (thread + world_size - args.group.rank - 1) % world_size;
    shared->pairs[place] = MakeSendPair(args, *exchange, thread, closed ? 0 : shared->peers.send_rows[thread]);
  } else if (thread >= kMaxWorldSize && thread < kMaxWorldSize + world_size) {
    JudgeReceive(args, *exchange, thread - kMaxWorldSize, &shared->peers);
  } else if (thread == 2 * kMaxWorldSize) {
    shared->peers.own[0] = exchange->input.fault;
    shared->peers.own[1] = exchange->output.fault;
    if (exchange->aborted != 0) shared->peers.aborted = {Fault::kAborted, 0, 0};
  }
  __syncthreads();
  if (thread == 0) PlacePairs(channel, shared);
  if (thread == kMaxWorldSize) SumRows(channel, shared);
  if (thread / kWarpSize == 1) CloseFaultySends(channel, &shared->peers);
  __syncthreads();
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_EXCHANGE_DEVICE_CUH_
