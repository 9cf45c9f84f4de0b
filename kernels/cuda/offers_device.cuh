// What ranks tell each other when a one-shot all-to-all or a Prepare opens: the words, and how they get across.
#ifndef A8A_KERNELS_CUDA_OFFERS_DEVICE_CUH_
#define A8A_KERNELS_CUDA_OFFERS_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/epoch_device.cuh"
#include "kernels/cuda/splits_device.cuh"

namespace a8a::kernels::cuda {

// Peers that did not say what they should have, as bits.
struct Unheard {
  std::uint64_t late;      // their cell did not come
  std::uint64_t passed;    // their cell is of a later epoch
  std::uint64_t mismatch;  // they run an operation without a cell
  std::uint64_t end_word;  // not bits: Waiter::end_word, if the group has ended
};

// What this rank and its peers have said, in shared memory. words[p] came from p; the own ones are at [rank].
struct Exchange {
  SplitTable input;
  SplitTable output;
  std::uint64_t words[kMaxWorldSize][kExchangeWordCount];
  Operation operations[kMaxWorldSize];
  Unheard unheard;
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

// Calls put(word, value) for all that this rank says to `peer`: by one thread, in order, since threads that each have
// a word of their own would take their branches one after the other.
template <typename Put>
__device__ inline void PutOwnWords(const ExchangeArgs& args, const Exchange& exchange, int peer, Put put) {
  const FaultInfo& receiver = exchange.output.fault;
  const FaultInfo& sender = exchange.input.fault;
  const auto put_signed = [&](ExchangeWord word, std::int64_t value) { put(word, static_cast<std::uint64_t>(value)); };
  put(kExchangeFaults, FaultsWord(exchange, args.window_index));
  put_signed(kExchangeRowBytes, args.output_layout.row_bytes);
  put_signed(kExchangeOutputOffset, args.output_offset_bytes);
  put_signed(kExchangeInnerSize, args.output_layout.inner_size);
  put_signed(kExchangeOuterStride, args.output_layout.outer_stride_bytes);
  put_signed(kExchangeInnerStride, args.output_layout.inner_stride_bytes);
  put_signed(kExchangeFirstRow, receiver.ok() ? exchange.output.first_row[peer] : receiver.expected);
  put_signed(kExchangeRows, receiver.ok() ? exchange.output.rows[peer] : receiver.actual);
  put_signed(kExchangeSendRows, sender.ok() ? exchange.input.rows[peer] : sender.expected);
  put_signed(kExchangeSendFaultActual, sender.ok() ? 0 : sender.actual);
}

// What this rank says to its peers. By one thread for each rank.
__device__ inline void PublishOffers(const Channel& channel, const ExchangeArgs& args, const Exchange& exchange,
                                     std::uint64_t epoch, Operation operation) {
  const int peer = static_cast<int>(threadIdx.x);
  if (!IsPeer(channel, peer)) return;
  StampedWord* const to = channel.ExchangeTo(args.group.flags[peer], epoch)->words;
  const std::uint64_t stamp = MakeStamp(epoch, operation);
  PutOwnWords(args, exchange, peer, [&](ExchangeWord word, std::uint64_t value) {
    StoreRelaxed(&to[word], {value, stamp});
  });
}

// What it says to itself. By one thread.
__device__ inline void TakeOwnOffer(const ExchangeArgs& args, Exchange* exchange, Operation operation) {
  const int rank = args.group.rank;
  exchange->operations[rank] = operation;
  PutOwnWords(args, *exchange, rank,
              [&](ExchangeWord word, std::uint64_t value) { exchange->words[rank][word] = value; });
}

// Whether a peer that shows no cell runs a prepared all-to-all, which has none.
__device__ inline bool RunsWithoutCell(const Channel& channel, int peer, std::uint64_t epoch) {
  const std::uint64_t stamp = LoadAcquire(&channel.DoneFrom(peer, epoch, channel.block)->stamp);
  return StampEpoch(stamp) == epoch && StampOperation(stamp) == Operation::kPrepared;
}

__device__ inline void SetBit(std::uint64_t* mask, int bit) {
  atomicOr(reinterpret_cast<unsigned long long*>(mask), 1ull << bit);
}

__device__ inline void RaiseTo(std::uint64_t* word, std::uint64_t value) {
  atomicMax(reinterpret_cast<unsigned long long*>(word), static_cast<unsigned long long>(value));
}

// Whether a thread of this block has found that the group has ended: the others need not wait for ranks that have
// found the same and give no offer.
__device__ inline bool HasEnded(const Exchange& exchange) {
  return *static_cast<const volatile std::uint64_t*>(&exchange.unheard.end_word) != 0;
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
      return SetBit(&exchange->unheard.mismatch, peer);
    }
    if (waiter.IsCheckDue()) {
      const Fault fault = waiter.Check(std::uint64_t{1} << peer);
      if (fault == Fault::kAborted) RaiseTo(&exchange->unheard.end_word, waiter.end_word());
      if (fault != Fault::kNone || HasEnded(*exchange)) return SetBit(&exchange->unheard.late, peer);
    }
    seen = LoadAcquire(from);
  }
  if (StampEpoch(seen.stamp) > epoch) SetBit(&exchange->unheard.passed, peer);
  exchange->words[peer][word] = seen.value;
  if (word == 0) exchange->operations[peer] = StampOperation(seen.stamp);
}

__device__ inline void TakeOffers(const Channel& channel, Waiter& waiter, Exchange* exchange, std::uint64_t epoch) {
  const int count = channel.world_size * kExchangeWordCount;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const int peer = i / kExchangeWordCount;
    const int word = i % kExchangeWordCount;
    if (peer != channel.rank) TakeWord(channel, waiter, exchange, epoch, peer, word);
  }
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_OFFERS_DEVICE_CUH_
