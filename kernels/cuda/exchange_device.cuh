// The phases that open a one-shot all-to-all and a Prepare: every rank tells every peer what it expects and what it
// sends, and both ranks of a pair come to the same verdict.
#ifndef A8A_KERNELS_CUDA_EXCHANGE_DEVICE_CUH_
#define A8A_KERNELS_CUDA_EXCHANGE_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/offers_device.cuh"
#include "kernels/cuda/verdict_device.cuh"

namespace a8a::kernels::cuda {

// What both kernels hold in shared memory.
struct ExchangeShared {
  ExchangeArgs args;
  PeerTable peers;
  Exchange exchange;
  SendPair pairs[kMaxWorldSize];
  Outlook outlook;
  std::int64_t total_bytes;
  std::int64_t block_bytes;
  std::int64_t rows_sent;
  std::int64_t rows_received;
};

// The arguments, by all threads at once and by their address: read where they are needed, one line after the other
// would take its trip to L2, and lanes that index them would take turns. Before WaitForEarlierKernels; needs
// __syncthreads.
__device__ inline void TakeArgs(const ExchangeArgs& args, ExchangeArgs* taken) {
  const auto* from = reinterpret_cast<const uint4*>(&args);
  asm volatile("" : "+l"(from));
  constexpr int kCount = sizeof(ExchangeArgs) / sizeof(uint4);
  static_assert(kCount <= kThreads);
  if (threadIdx.x < kCount) reinterpret_cast<uint4*>(taken)[threadIdx.x] = from[threadIdx.x];
}

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

// By warps 1 and 2 of a block; needs __syncthreads.
__device__ inline void ReadBothSplits(const ExchangeArgs& args, Exchange* exchange) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  if (warp == 1) {
    ReadSplits({args.splits.input, args.splits.input_offsets, args.splits.type, args.input_rows, Fault::kBeyondInput},
               args.group.world_size, &exchange->input);
  } else if (warp == 2) {
    ReadSplits(
        {args.splits.output, args.splits.output_offsets, args.splits.type, args.output_rows, Fault::kBeyondWindow},
        args.group.world_size, &exchange->output);
  }
}

// By the warps from the fifth on.
__device__ inline void ClearPairs(int world_size, SendPair* pairs) {
  const int count = world_size * static_cast<int>(sizeof(SendPair) / sizeof(uint4));
  for (int i = static_cast<int>(threadIdx.x) - 4 * kWarpSize; i < count; i += kThreads - 4 * kWarpSize) {
    reinterpret_cast<uint4*>(pairs)[i] = {0, 0, 0, 0};
  }
}

// Phase 1 of both kernels: enters the epoch, reads the splits.
__device__ inline void EnterWithSplits(const Channel& channel, Waiter& waiter, ExchangeShared* shared) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const ExchangeArgs& args = shared->args;
  Exchange* exchange = &shared->exchange;
  ReadBothSplits(args, exchange);
  if (warp == 0) {
    const Outlook seen = LookAround(channel, args.window_index + 1, /*takes_ready=*/false);
    if (Lane() == 0) shared->outlook = seen;
  } else if (warp == 3) {
    PreparePeers(args, &shared->peers);
    if (Lane() == 0) {
      exchange->unheard = {};
    }
  } else if (warp >= 4) {
    ClearPairs(args.group.world_size, shared->pairs);
  }
  __syncthreads();
  if (!shared->outlook.fine) {
    if (warp == 0) {
      waiter = EnterSlowly(channel, waiter, &shared->peers, shared->outlook, args.timeout_ns);
      __syncwarp();
      if (Lane() == 0) exchange->unheard.end_word = shared->peers.aborted.ok() ? 0 : waiter.end_word();
    }
    __syncthreads();
  }
  if (args.splits.output_offsets != nullptr) FindOverlap(args.group.world_size, &exchange->output);
}

// The verdict on one direction of one pair. What is known already stays: that a peer was late, or has given up. Sends
// and receives are judged by different warps with the same code.
__device__ __forceinline__ void Judge(bool as_sender, int peer, ExchangeShared* shared) {
  const Exchange& exchange = shared->exchange;
  FaultInfo& fault = (as_sender ? shared->peers.send : shared->peers.receive)[peer];
  if (fault.ok()) fault = JudgePair(shared->args, exchange, peer, as_sender);
  const std::int64_t rows = (as_sender ? exchange.input : exchange.output).rows[peer];
  (as_sender ? shared->peers.send_rows : shared->peers.receive_rows)[peer] = fault.ok() ? rows : 0;
}

// The pairs one after the other, without those that have a fault. By one warp.
__device__ inline void PlacePairs(const Channel& channel, bool closed, ExchangeShared* shared) {
  const int world_size = channel.world_size;
  std::int64_t total_bytes = 0;
#pragma unroll 1
  for (int first = 0; first < world_size; first += kWarpSize) {
    const int place = first + Lane();
    SendPair* const pair = &shared->pairs[place];
    const bool sends = !closed && place < world_size && shared->peers.send[pair->peer].ok();
    const std::int64_t size_bytes = sends ? pair->size_bytes : 0;
    const std::int64_t end_bytes = total_bytes + InclusiveSum(size_bytes, world_size - first);
    if (place < world_size) {
      pair->begin_bytes = end_bytes - size_bytes;
      pair->size_bytes = size_bytes;
    }
    total_bytes = FromLastLane(end_bytes, world_size - first);
  }
  if (Lane() != 0) return;
  shared->total_bytes = total_bytes;
  shared->block_bytes = BlockBytes(total_bytes, channel.block_count);
}

// What Prepare counts. By one thread, after the verdicts.
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

// Why the group has ended, if it has: found by the exchange, or by this thread's waits after it.
__device__ inline std::uint64_t EndWord(const Exchange& exchange, const Waiter& waiter) {
  return exchange.unheard.end_word != 0 ? exchange.unheard.end_word : waiter.end_word();
}

// The faults of the whole operation. By one thread.
__device__ inline void NoteOwnFaults(ExchangeShared* shared) {
  shared->peers.own[0] = shared->exchange.input.fault;
  shared->peers.own[1] = shared->exchange.output.fault;
  if (shared->exchange.unheard.end_word != 0) shared->peers.aborted = {Fault::kAborted, 0, 0};
}

// Phase 2 of both: the exchange, and what follows from it for every pair. `publishes`: this block speaks for the rank.
// What one warp does one after the other takes long, so several share it, and what can be is done before the peers'
// words are there.
__device__ inline void ExchangeOffers(const Channel& channel, Waiter& waiter, Operation operation, bool publishes,
                                      ExchangeShared* shared) {
  const ExchangeArgs& args = shared->args;
  Exchange* exchange = &shared->exchange;
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarpSize;
  const std::uint64_t epoch = shared->outlook.epoch.number;
  // A rank that may not let its peers write gives no offer; they find out by its done.
  const bool open = shared->peers.unwritable == 0;
  if (open && publishes) PublishOffers(channel, args, *exchange, epoch, operation);
  if (warp == kWarps - 1) {
    ForAllPlaces(channel, [&](int place, int peer) { StartPair(args, exchange->input, peer, &shared->pairs[place]); });
  }
  if (thread == (kWarps - 2) * kWarpSize) TakeOwnOffer(args, exchange, operation);
  TakeOffers(channel, waiter, exchange, epoch);
  __syncthreads();
  const Unheard& unheard = exchange->unheard;
  if ((unheard.late | unheard.passed | unheard.mismatch) != 0) {
    const bool late = thread < args.group.world_size && (unheard.late >> thread & 1) != 0;
    if (late && unheard.end_word == 0) NoteLateOffer(channel, args, thread, shared);
    if (thread < kWarpSize) RevokeLate(channel, shared->peers, epoch, unheard.late);
    __syncthreads();
  }

  if (warp <= 1) {
    ForAllPlaces(channel, [&](int, int peer) { Judge(/*as_sender=*/warp == 0, peer, shared); });
  } else if (warp == 2) {
    ForAllPlaces(channel, [&](int place, int) { AimPair(args, *exchange, &shared->pairs[place]); });
  } else if (warp == 3 && Lane() == 0) {
    NoteOwnFaults(shared);
  }
  __syncthreads();
  if (warp == 0) {
    PlacePairs(channel, !open || unheard.end_word != 0, shared);
  } else if (warp == 1) {
    CloseFaultySends(channel, &shared->peers);
  }
  __syncthreads();
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_EXCHANGE_DEVICE_CUH_
