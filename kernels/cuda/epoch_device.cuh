// One epoch of one block: the steps that prepared and one-shot all-to-alls and Prepare share. Warp 0 of each block
// talks to the same block of the peers, two peers a lane; the rest of the block copies.
//
//   LookAround      takes the epoch; whether all peers may be written to
//   EnterSlowly     if not: waits, or finds out which may not
//   SayDone         after the rows
//   AwaitDone       of every peer
//   ReportPlainest  if anything was wrong
//
// A block writes only where that is safe: every rank has started epoch e - 1, and what it stored then is in place.
// Where nobody ever gave up, that is so because e - 1 ended with all dones, or offers, seen. After a block of the
// channel gave up, all blocks first wait for what is missing, so that rows of a late rank are in place before anything
// that may share their place is written. A rank that comes too late finds its peer's ticket revoked, or its peer's done
// of a later epoch, and stores nothing for that peer; that there is such a ticket it reads from its own revoked_epoch,
// so that an epoch begins with few loads, however many peers there are.
#ifndef A8A_KERNELS_CUDA_EPOCH_DEVICE_CUH_
#define A8A_KERNELS_CUDA_EPOCH_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/channel_device.cuh"
#include "kernels/cuda/fault_class.h"
#include "kernels/cuda/memory_device.cuh"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/status_device.cuh"
#include "kernels/cuda/wait_device.cuh"

namespace a8a::kernels::cuda {

inline constexpr std::uint32_t kFullWarp = 0xffffffffu;
inline constexpr int kPeersPerLane = kMaxWorldSize / kWarpSize;

// What a block knows of its peers; in shared memory, by rank.
struct PeerTable {
  std::byte* segment[kMaxWorldSize];  // flags
  std::int64_t send_rows[kMaxWorldSize];
  std::int64_t receive_rows[kMaxWorldSize];
  FaultInfo send[kMaxWorldSize];
  FaultInfo receive[kMaxWorldSize];
  // A fault of the whole operation: the group's end, or (as sender, as receiver) this rank's own splits.
  FaultInfo aborted;
  FaultInfo own[2];
  std::uint64_t unwritable;  // ranks that get no rows
};

__device__ inline int Lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
// In lanes below `count`: the sum of the values of this lane and those below it. By a full warp. Unsigned inside: sums
// of what has yet to be checked may overflow.
__device__ inline std::int64_t InclusiveSum(std::int64_t value, int count) {
  auto sum = static_cast<std::uint64_t>(value);
#pragma unroll 1
  for (int step = 1; step < count && step < kWarpSize; step *= 2) {
    const std::uint64_t below = __shfl_up_sync(kFullWarp, sum, static_cast<unsigned>(step));
    if (Lane() >= step) sum += below;
  }
  return static_cast<std::int64_t>(sum);
}
// `value` of the last of `count` lanes.
__device__ inline std::int64_t FromLastLane(std::int64_t value, int count) {
  return __shfl_sync(kFullWarp, value, (count < kWarpSize ? count : kWarpSize) - 1);
}

__device__ inline bool IsPeer(const Channel& channel, int rank) {
  return rank < channel.world_size && rank != channel.rank;
}

// Calls step(peer) for the peers of this lane.
template <typename Step>
__device__ inline void ForMyPeers(const Channel& channel, Step step) {
#pragma unroll 1
  for (int peer = Lane(); peer < channel.world_size; peer += kWarpSize) {
    if (peer != channel.rank) step(peer);
  }
}

__device__ inline std::uint64_t OrOfWarp(std::uint64_t mask) {
  const std::uint32_t low = __reduce_or_sync(kFullWarp, static_cast<std::uint32_t>(mask));
  const std::uint32_t high = __reduce_or_sync(kFullWarp, static_cast<std::uint32_t>(mask >> 32));
  return std::uint64_t{high} << 32 | low;
}

// Whether ready(peer) for all peers of all lanes; looks until that is so or the waiter gives up. `late` gets the peers
// of this lane that were not ready. By a full warp.
template <typename Ready>
__device__ inline Fault AwaitPeers(const Channel& channel, Waiter& waiter, std::uint64_t* late, Ready ready) {
  std::uint64_t pending = 0;
  ForMyPeers(channel, [&](int peer) { pending |= std::uint64_t{1} << peer; });
  while (true) {
    ForMyPeers(channel, [&](int peer) {
      if ((pending >> peer & 1) && ready(peer)) pending &= ~(std::uint64_t{1} << peer);
    });
    *late = pending;
    if (__all_sync(kFullWarp, pending == 0)) return Fault::kNone;
    // One lane decides for all, so that the warp stays together.
    if (__shfl_sync(kFullWarp, waiter.IsCheckDue() ? 1 : 0, 0) == 0) continue;
    const Fault fault = waiter.Check(OrOfWarp(pending));
    const Fault decided = static_cast<Fault>(__shfl_sync(kFullWarp, static_cast<std::uint32_t>(fault), 0));
    if (decided != Fault::kNone) return decided;
  }
}

// The newest epoch that `peer` has told a block of this rank that it is done with.
__device__ inline std::uint64_t DoneEpoch(const Channel& channel, int peer, int block) {
  const std::uint64_t even = StampEpoch(LoadAcquire(&channel.DoneFrom(peer, 0, block)->stamp));
  const std::uint64_t odd = StampEpoch(LoadAcquire(&channel.DoneFrom(peer, 1, block)->stamp));
  return even > odd ? even : odd;
}

__device__ inline FaultInfo DeadlineOf(const Channel& channel, int peer, std::int64_t timeout_ns) {
  return {Fault::kDeadline, timeout_ns, static_cast<std::int64_t>(DoneEpoch(channel, peer, channel.block))};
}

__device__ inline void NoteLate(const Channel& channel, PeerTable* peers, std::uint64_t late, Fault fault,
                                std::int64_t timeout_ns, bool as_sender) {
  if (fault == Fault::kAborted) peers->aborted = {Fault::kAborted};
  if (fault != Fault::kDeadline) return;
  ForMyPeers(channel, [&](int peer) {
    FaultInfo& info = as_sender ? peers->send[peer] : peers->receive[peer];
    if ((late >> peer & 1) && info.ok()) info = DeadlineOf(channel, peer, timeout_ns);
  });
}

struct Epoch {
  std::uint64_t number;
  bool repeats_window;
};

// What one look tells about the epoch to come.
struct Outlook {
  Epoch epoch;
  bool settled;  // every rank has finished the epoch before
  bool fine;     // every peer may be written to at once
};

// Waits until every block of every peer has finished `epoch` - 1.
__device__ inline Fault Settle(const Channel& channel, Waiter& waiter, std::uint64_t epoch, std::uint64_t* late) {
  const Fault fault = AwaitPeers(channel, waiter, late, [&](int peer) {
    for (int block = 0; block < channel.block_count; ++block) {
      if (DoneEpoch(channel, peer, block) + 1 < epoch) return false;
    }
    return true;
  });
  if (fault == Fault::kNone && Lane() == 0) MaxRelaxed(&channel.shared()->settled_epoch, epoch - 1);
  return fault;
}

// Tells the peers that this rank has started the epoch, so that its outputs have been read, and waits for theirs.
__device__ inline Fault ExchangeReady(const Channel& channel, Waiter& waiter, const PeerTable& peers,
                                      std::uint64_t epoch, std::uint64_t* late) {
  ReleaseFence();
  ForMyPeers(channel, [&](int peer) {
    StoreRelaxed(channel.ReadyTo(peers.segment[peer], epoch), MakeTicket(epoch, CreditState::kOpen));
  });
  return AwaitPeers(channel, waiter, late, [&](int peer) {
    // A peer that thinks it needs no ready says done: as good, since it has started the epoch too.
    return TicketEpoch(LoadAcquire(channel.ReadyFrom(peer, epoch))) >= epoch ||
           StampEpoch(LoadAcquire(&channel.DoneFrom(peer, epoch, channel.block)->stamp)) >= epoch;
  });
}

// By warp 0, where one look was not enough. Afterwards `unwritable` and the sends' faults hold what it found.
// Takes and returns by value, so that the callers keep theirs in registers.
__device__ __forceinline__ Waiter EnterSlowly(Channel channel, Waiter waiter, PeerTable* peers, Outlook outlook,
                                              std::int64_t timeout_ns) {
  const Epoch epoch = outlook.epoch;
  AcquireFence();  // tickets after revoked_epoch
  std::uint64_t late = 0;
  Fault fault = Fault::kNone;
  // After somebody gave up, the group may have ended; elsewhere a wait finds out.
  if (!outlook.settled && __any_sync(kFullWarp, waiter.abort_word() != 0)) fault = Fault::kAborted;
  if (fault == Fault::kNone && !outlook.settled) fault = Settle(channel, waiter, epoch.number, &late);
  NoteLate(channel, peers, late, fault, timeout_ns, /*as_sender=*/true);
  bool writable = fault == Fault::kNone;
  if (writable && epoch.repeats_window) {
    fault = ExchangeReady(channel, waiter, *peers, epoch.number, &late);
    NoteLate(channel, peers, late, fault, timeout_ns, /*as_sender=*/true);
    writable = fault != Fault::kAborted;
  }
  ForMyPeers(channel, [&](int peer) {
    const bool passed = DoneEpoch(channel, peer, channel.block) > epoch.number;
    const bool revoked =
        LoadAcquire(channel.ReadyFrom(peer, epoch.number)) == MakeTicket(epoch.number, CreditState::kRevoked);
    if ((passed || revoked) && peers->send[peer].ok()) peers->send[peer] = {Fault::kAbandoned};
  });
  if (!writable && Lane() == 0) peers->unwritable = ~std::uint64_t{0};
  return waiter;
}

// By warp 0: what this rank itself knows. Relaxed: these words only confirm what the channel acquired when its last
// epoch ended.
__device__ inline Outlook LookAround(const Channel& channel, std::int64_t window_plus1, bool takes_ready) {
  const BlockState* state = channel.block_state(channel.block);
  const DeviceChannel* shared = channel.shared();
  const std::uint64_t last_epoch = LoadRelaxed(&state->epoch);
  const std::uint64_t last_window = LoadRelaxed(reinterpret_cast<const std::uint64_t*>(&state->last_window_plus1));
  const std::uint64_t gave_up = LoadRelaxed(&shared->gave_up_epoch);
  const std::uint64_t settled = LoadRelaxed(&shared->settled_epoch);
  const std::uint64_t revoked = LoadRelaxed(&shared->revoked_epoch);
  Outlook outlook = {};
  outlook.epoch = {last_epoch + 1, takes_ready && static_cast<std::int64_t>(last_window) == window_plus1};
  outlook.settled = gave_up <= settled;
  outlook.fine = outlook.settled && !outlook.epoch.repeats_window && revoked <= last_epoch;
  return outlook;
}

// Ranks that get no rows: all, or those with a fault. By warp 0, after the sends' faults are known.
__device__ inline void CloseFaultySends(const Channel& channel, PeerTable* peers) {
  std::uint64_t faulty = 0;
#pragma unroll
  for (int slot = 0; slot < kPeersPerLane; ++slot) {
    const int rank = Lane() + slot * kWarpSize;
    const bool bad = rank < channel.world_size && !peers->send[rank].ok();
    faulty |= static_cast<std::uint64_t>(__ballot_sync(kFullWarp, bad)) << (slot * kWarpSize);
  }
  __syncwarp();
  if (Lane() == 0) peers->unwritable |= faulty;
}

// By warp 0, after __syncthreads behind the block's stores.
__device__ inline void SayDone(const Channel& channel, const PeerTable& peers, std::uint64_t epoch,
                               Operation operation) {
  StampedWord* to[kPeersPerLane];
  StampedWord done[kPeersPerLane];
#pragma unroll
  for (int slot = 0; slot < kPeersPerLane; ++slot) {
    const int peer = Lane() + slot * kWarpSize;
    to[slot] = nullptr;
    if (!IsPeer(channel, peer)) continue;
    Fault fault = peers.send[peer].fault;
    if (fault == Fault::kNone && (peers.unwritable >> peer & 1)) fault = Fault::kDeadline;
    const std::int64_t rows = fault == Fault::kNone ? peers.send_rows[peer] : 0;
    to[slot] = channel.DoneTo(peers.segment[peer], epoch, channel.block);
    done[slot] = {static_cast<std::uint64_t>(rows), MakeStamp(epoch, operation, fault)};
  }
  // Every lane that stores has its own fence in front: a release of all that the block has stored.
  ReleaseFence();
#pragma unroll
  for (int slot = 0; slot < kPeersPerLane; ++slot) {
    if (to[slot] != nullptr) StoreRelaxed(to[slot], done[slot]);
  }
}

// Before SayDone, whose fence it shares: a store after the wait for the dones would hold up the end of the kernel. The
// epoch is used, whatever becomes of it; only the channel's next kernel reads this.
__device__ inline void UseEpoch(const Channel& channel, std::uint64_t epoch, int window_index) {
  if (Lane() == 0) *channel.block_state(channel.block) = {epoch, window_index + 1};
}

// Why a done is not the one this rank expects.
__device__ inline FaultInfo FaultOfDone(const StampedWord& seen, std::uint64_t epoch, Operation operation,
                                        std::int64_t expected_rows) {
  if (StampEpoch(seen.stamp) != epoch) return {Fault::kAbandoned};
  if (StampOperation(seen.stamp) != operation) {
    return {Fault::kOperationMismatch, static_cast<std::int64_t>(operation),
            static_cast<std::int64_t>(StampOperation(seen.stamp))};
  }
  if (StampFault(seen.stamp) != Fault::kNone) return {AsToldByPeer(StampFault(seen.stamp))};
  return {Fault::kSplitMismatch, expected_rows, static_cast<std::int64_t>(seen.value)};
}

// Not everybody was heard: the next epoch settles first. By one thread.
__device__ inline void NoteGaveUp(const Channel& channel, std::uint64_t epoch) {
  MaxRelaxed(&channel.shared()->gave_up_epoch, epoch);
}

// The receives of this rank from peers that did not come: late ones find their ticket revoked. By a warp.
__device__ inline void RevokeLate(const Channel& channel, const PeerTable& peers, std::uint64_t epoch,
                                  std::uint64_t late) {
  ForMyPeers(channel, [&](int peer) {
    if (!(late >> peer & 1)) return;
    StoreRelaxed(channel.ReadyTo(peers.segment[peer], epoch), MakeTicket(epoch, CreditState::kRevoked));
    ReleaseFence();
    MaxRelaxed(channel.RevokedTo(peers.segment[peer]), epoch);
  });
  if (Lane() == 0) NoteGaveUp(channel, epoch);
}

// By warp 0. Peers that are missing or say something unexpected get a receive fault. Returns whether there is any
// fault.
__device__ inline bool AwaitDone(const Channel& channel, Waiter& waiter, PeerTable* peers, std::uint64_t epoch,
                                 Operation operation, std::int64_t timeout_ns) {
  bool good = true;
  std::uint64_t late = 0;
  const Fault fault = AwaitPeers(channel, waiter, &late, [&](int peer) {
    const StampedWord seen = LoadAcquire(channel.DoneFrom(peer, epoch, channel.block));
    if (StampEpoch(seen.stamp) < epoch) return false;
    const std::int64_t rows = peers->receive_rows[peer];
    if (seen.stamp != MakeStamp(epoch, operation) || static_cast<std::int64_t>(seen.value) != rows) {
      good = false;
      if (peers->receive[peer].ok()) peers->receive[peer] = FaultOfDone(seen, epoch, operation, rows);
    }
    return true;
  });
  if (fault != Fault::kNone) {
    NoteLate(channel, peers, late, fault, timeout_ns, /*as_sender=*/false);
    RevokeLate(channel, *peers, epoch, late);
    good = false;
  }
  return __any_sync(kFullWarp, !good);
}

// Peers that have seen the group's end give up, and this rank may see that before it has looked at the abort word. By a
// warp, where something was wrong.
__device__ inline void BlameTheEnd(const Waiter& waiter, PeerTable* peers) {
  if (Lane() == 0 && waiter.abort_word() != 0) peers->aborted = {Fault::kAborted};
  __syncwarp();
}

// The plainest fault of the block, in the order of PlainnessOf.
struct Candidate {
  std::uint32_t plainness = ~std::uint32_t{0};
  FaultReport report;

  __device__ void Offer(int peer, bool as_sender, const FaultInfo& info) {
    if (info.ok()) return;
    const std::uint32_t rival = PlainnessOf(info.fault, peer, as_sender);
    if (rival >= plainness) return;
    plainness = rival;
    report.peer = peer;
    report.as_sender = as_sender;
    report.info = info;
  }
};

// By warp 0, if there is any fault.
__device__ __forceinline__ void ReportPlainest(Channel channel, const PeerTable& peers, std::uint64_t epoch,
                                               Operation operation, std::byte* channel_control,
                                               std::uint64_t end_word) {
  Candidate candidate;
  candidate.Offer(-1, /*as_sender=*/false, peers.aborted);
  candidate.Offer(-1, /*as_sender=*/true, peers.own[0]);
  candidate.Offer(-1, /*as_sender=*/false, peers.own[1]);
#pragma unroll
  for (int slot = 0; slot < kPeersPerLane; ++slot) {
    const int rank = Lane() + slot * kWarpSize;
    if (rank >= channel.world_size) continue;
    // What the own splits' fault does to every pair has been told above.
    if (peers.own[0].ok()) candidate.Offer(rank, /*as_sender=*/true, peers.send[rank]);
    if (peers.own[1].ok()) candidate.Offer(rank, /*as_sender=*/false, peers.receive[rank]);
  }
  const std::uint32_t plainest = __reduce_min_sync(kFullWarp, candidate.plainness);
  if (plainest == ~std::uint32_t{0}) return;
  const std::uint32_t winners = __ballot_sync(kFullWarp, candidate.plainness == plainest);
  if (Lane() != __ffs(static_cast<int>(winners)) - 1) return;
  candidate.report.operation = operation;
  candidate.report.epoch = epoch;
  candidate.report.abort_word = candidate.report.info.fault == Fault::kAborted ? end_word : 0;
  RecordError(channel.shared(), reinterpret_cast<ChannelControl*>(channel_control), candidate.report);
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_EPOCH_DEVICE_CUH_
