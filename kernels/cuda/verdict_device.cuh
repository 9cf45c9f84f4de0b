// The verdict on a pair, to which both of its ranks come from the same words, and the rows of a pair as a copy needs
// them. A peer is never trusted: a placement that passes leads no store outside the peer's part of the window.
#ifndef A8A_KERNELS_CUDA_VERDICT_DEVICE_CUH_
#define A8A_KERNELS_CUDA_VERDICT_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/copy_device.cuh"
#include "kernels/cuda/offers_device.cuh"

namespace a8a::kernels::cuda {

// Where rows [first_row, first_row + rows) of a receiver's view end in its part of the window; INT64_MAX for what no
// honest word gives: none is larger than the largest buffer. Requires rows > 0.
__device__ inline std::int64_t EndOfRows(const std::uint64_t* receiver, std::int64_t first_row, std::int64_t rows) {
  constexpr auto kMost = static_cast<std::uint64_t>(kMaxBufferBytes);
  const std::int64_t inner_size = Word(receiver, kExchangeInnerSize);
  const std::uint64_t largest = receiver[kExchangeRowBytes] | receiver[kExchangeOutputOffset] |
                                receiver[kExchangeOuterStride] | receiver[kExchangeInnerStride] |
                                static_cast<std::uint64_t>(first_row) | static_cast<std::uint64_t>(rows);
  // Bits, not values: at most twice the largest buffer passes.
  if (largest >= 2 * kMost || inner_size <= 0) return INT64_MAX;
  std::int64_t first_outer = 0;
  std::int64_t first_inner = 0;
  std::int64_t last_outer = 0;
  std::int64_t last_inner = 0;
  DivideSteps(first_row, inner_size, &first_outer, &first_inner);
  DivideSteps(first_row + rows - 1, inner_size, &last_outer, &last_inner);
  if (first_outer != last_outer) last_inner = inner_size - 1;
  const std::uint64_t row_end = receiver[kExchangeOutputOffset] + receiver[kExchangeRowBytes];
  const auto outer = static_cast<std::uint64_t>(last_outer);
  const auto inner = static_cast<std::uint64_t>(last_inner);
  // Products that fit 64 bits for sure, as most do.
  if (((largest | outer | inner) >> 30) == 0) {
    return static_cast<std::int64_t>(outer * receiver[kExchangeOuterStride] + inner * receiver[kExchangeInnerStride] +
                                     row_end);
  }
  const auto wide = static_cast<unsigned __int128>(outer) * receiver[kExchangeOuterStride] +
                    static_cast<unsigned __int128>(inner) * receiver[kExchangeInnerStride] + row_end;
  return wide <= static_cast<unsigned __int128>(INT64_MAX) ? static_cast<std::int64_t>(wide) : INT64_MAX;
}

// One side of a pair: its rank's words and operation, and the rows it names for the other.
struct PairSide {
  const std::uint64_t* words;
  Operation operation;
  std::int64_t rows;
  std::int64_t first_row;  // of the receiver, in its output view
};

// What is wrong with a pair, apart from where its rows would lie. The numbers of the two ranks' own faults are where
// their rows would be.
__device__ inline FaultInfo FindMismatch(const PairSide& sender, const PairSide& receiver) {
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
  return {Fault::kNone, 0, 0};
}

// FindMismatch finds nothing: all of it at once, since one warp that takes branch after branch is slow.
__device__ __forceinline__ bool Match(const PairSide& sender, const PairSide& receiver) {
  const bool no_fault = SenderFault(sender.words) == Fault::kNone & ReceiverFault(receiver.words) == Fault::kNone;
  const bool same_window = WindowIndex(sender.words) == WindowIndex(receiver.words);
  const bool same_rows =
      sender.words[kExchangeRowBytes] == receiver.words[kExchangeRowBytes] & sender.rows == receiver.rows;
  return sender.operation == receiver.operation & no_fault & same_window & same_rows;
}

// The same on both ranks, from the same words.
__device__ __forceinline__ FaultInfo FindPairFault(const PairSide& sender, const PairSide& receiver,
                                                   std::int64_t window_bytes) {
  if (!Match(sender, receiver)) return FindMismatch(sender, receiver);
  if (sender.rows == 0) return {Fault::kNone, 0, 0};
  const std::int64_t end = EndOfRows(receiver.words, receiver.first_row, sender.rows);
  if (end > window_bytes) return {Fault::kBeyondWindow, window_bytes, end};
  return {Fault::kNone, 0, 0};
}

// For a peer's words that are judged at the same time: any numbers.
__device__ inline std::int64_t WrappingProduct(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}
__device__ inline std::int64_t WrappingSum(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

// How the flat rows [first_row, first_row + rows) of a view go by, from `origin` on. Requires inner_size > 0.
__device__ __forceinline__ RowSteps StepsOf(std::int64_t origin, std::int64_t inner_size, std::int64_t outer_stride,
                                            std::int64_t inner_stride, std::int64_t first_row, std::int64_t rows) {
  constexpr std::int64_t kNever = std::int64_t{1} << 62;
  std::int64_t outer = 0;
  std::int64_t inner = 0;
  DivideSteps(first_row, inner_size, &outer, &inner);
  const std::int64_t base =
      WrappingSum(origin, WrappingSum(WrappingProduct(outer, outer_stride), WrappingProduct(inner, inner_stride)));
  if (inner_size == 1) return {base, outer_stride, kNever, 0, 0};
  // Not inner_size * inner_stride: a peer's inner_size may be anything.
  const bool one_run = rows <= inner_size - inner;
  const std::int64_t jump = one_run ? 0 : WrappingSum(outer_stride, -WrappingProduct(inner_size, inner_stride));
  if (jump == 0) return {base, inner_stride, kNever, 0, 0};
  return {base, inner_stride, inner_size, inner, jump};
}

__device__ inline bool IsAffine(const RowSteps& steps) { return steps.jump == 0; }

__device__ inline CopyKind KindOf(const SendPair& pair, std::int64_t rows, std::int64_t row_bytes) {
  if (!IsAffine(pair.from) || !IsAffine(pair.to)) return CopyKind::kStepped;
  const bool contiguous = pair.from.stride == row_bytes && pair.to.stride == row_bytes;
  return rows == 1 || contiguous ? CopyKind::kLinear : CopyKind::kAffine;
}

// What this rank knows of the rows to `peer` before the peer has told where they go. Requires a pair of zeros.
__device__ inline void StartPair(const ExchangeArgs& args, const SplitTable& split, int peer, SendPair* pair) {
  pair->peer = peer;
  const std::int64_t rows = split.fault.ok() ? split.rows[peer] : 0;
  if (rows == 0) return;
  const RowLayout& input = args.input_layout;
  pair->size_bytes = rows * input.row_bytes;
  pair->from =
      StepsOf(0, input.inner_size, input.outer_stride_bytes, input.inner_stride_bytes, split.first_row[peer], rows);
}

// Where they go, by what the peer (for this rank itself: this rank) has said. Means nothing if there is a fault.
__device__ inline void AimPair(const ExchangeArgs& args, const Exchange& exchange, SendPair* pair) {
  const std::uint64_t* to = exchange.words[pair->peer];
  const std::int64_t inner_size = Word(to, kExchangeInnerSize);
  if (pair->size_bytes == 0 || inner_size <= 0) return;
  const std::int64_t row_bytes = args.input_layout.row_bytes;
  const std::int64_t rows = exchange.input.rows[pair->peer];
  pair->to = StepsOf(
      WrappingSum(reinterpret_cast<std::int64_t>(args.window_base[pair->peer]), Word(to, kExchangeOutputOffset)),
      inner_size, Word(to, kExchangeOuterStride), Word(to, kExchangeInnerStride), Word(to, kExchangeFirstRow), rows);
  pair->kind = KindOf(*pair, rows, row_bytes);
  std::int64_t bits = pair->from.base | pair->to.base;
  if (pair->kind != CopyKind::kLinear) {
    bits |= row_bytes | pair->from.stride | pair->to.stride | pair->from.jump | pair->to.jump;
  }
  pair->alignment_bits = static_cast<std::uint32_t>(bits & 15);
}

// Calls step(place, peer) for all ranks in the order of distance, this one last. By one warp.
template <typename Step>
__device__ inline void ForAllPlaces(const Channel& channel, Step step) {
#pragma unroll 1
  for (int place = Lane(); place < channel.world_size; place += kWarpSize) {
    const int peer = place + channel.rank + 1;
    step(place, peer < channel.world_size ? peer : peer - channel.world_size);
  }
}

// What is wrong with the exchange itself, seen from here: the peer did not tell, or not in this epoch. `missing` is set
// where there are no words to look at.
__device__ inline FaultInfo FaultOfExchange(const Unheard& unheard, Operation operation, int peer, bool as_sender,
                                            bool* missing) {
  const std::uint64_t bit = std::uint64_t{1} << peer;
  *missing = ((unheard.late | unheard.mismatch | unheard.passed) & bit) != 0 || unheard.end_word != 0;
  if (unheard.mismatch & bit) {
    const auto theirs = static_cast<std::int64_t>(Operation::kPrepared);
    const auto mine = static_cast<std::int64_t>(operation);
    return {Fault::kOperationMismatch, as_sender ? theirs : mine, as_sender ? mine : theirs};
  }
  if (unheard.passed & bit) return {Fault::kAbandoned, 0, 0};
  return {Fault::kNone, 0, 0};
}

// The verdict on the rows to (`as_sender`) or from `peer`, which may be this rank itself.
__device__ __forceinline__ FaultInfo JudgePair(const ExchangeArgs& args, const Exchange& exchange, int peer,
                                               bool as_sender) {
  const int rank = args.group.rank;
  bool missing = false;
  const FaultInfo fault = FaultOfExchange(exchange.unheard, exchange.operations[rank], peer, as_sender, &missing);
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
  return FindPairFault(sender, receiver, args.window_size_bytes[to]);
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_VERDICT_DEVICE_CUH_
