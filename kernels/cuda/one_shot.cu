// One-shot all-to-all, push form: ranks exchange what they expect and send, then store rows into their peers' windows.
// Layout    input and output: 3-D views; splits and offsets: world_size int32 or int64 on the device.
// Launch    grid = block_count + 1 (the last block counts), block = kThreads, no dynamic shared memory; one launch per
//           epoch; may be set up while the stream's kernel before it still runs (programmatic dependent launch).
// Needs     all blocks of all ranks on one device resident at once.
// Ordering  offers: 16-byte stores of value and stamp, no fence; block 0 tells, every block of the peer reads. Rows and
//           dones as in prepared.cu.
// Reuse     an ExchangeCell of epoch e is stored again in e + 2, after its reader's done of e + 1, hence after its
//           read. A window is free for e because its owner's offer of e says that earlier outputs have been read.
// Failure   a fault of a pair is found alike by both ranks, from the same words; waits end as in prepared.cu.
// Oracle    reference/all_to_all_reference.cc; compared bit for bit in tests/gpu/random_test.cc.
#include "kernels/cuda/exchange_device.cuh"
#include "kernels/cuda/finish_device.cuh"

namespace a8a::kernels::cuda {
namespace {

// Whether something was wrong before the dones.
__device__ bool AnyFault(const PeerTable& peers, int rank) {
  return !peers.own[0].ok() || !peers.own[1].ok() || !peers.aborted.ok() || !peers.send[rank].ok() ||
         peers.unwritable != 0;
}

// By the last block, which does nothing else; see CountAlone. What a fault keeps from moving is taken back by block 0.
__device__ void CountSplits(const Channel& channel, ExchangeShared* shared) {
  const ExchangeArgs& args = shared->args;
  Exchange* exchange = &shared->exchange;
  ReadBothSplits(args, exchange);
  __syncthreads();
  if (args.splits.output_offsets != nullptr) FindOverlap(args.group.world_size, &exchange->output);
  if (threadIdx.x >= kWarpSize) return;
  CountAlone(channel, args.group.channel_control, args.group.rank_control,
             {0, false, args.window_index, args.output_layout.row_bytes,
              SumOfRows(exchange->input, args.group.world_size), SumOfRows(exchange->output, args.group.world_size)});
}

__global__ void __launch_bounds__(kThreads, 1) OneShotAllToAll(const __grid_constant__ ExchangeArgs kernel_args) {
  __shared__ ExchangeShared shared;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const ExchangeArgs& args = shared.args;
  TakeArgs(kernel_args, &shared.args);
  __syncthreads();
  const int block_count = static_cast<int>(gridDim.x) - 1;
  const Channel channel = {
      args.group.flags[args.group.rank], args.group.offsets, args.group.rank, args.group.world_size, block_count,
      static_cast<int>(blockIdx.x)};
  WaitForEarlierKernels();
  if (channel.block == block_count) return CountSplits(channel, &shared);
  // Of how long the dones took; and takes back what was counted and did not arrive.
  const bool counts_wait = channel.block == 0;

  // Phase 1: may this epoch store; the splits.
  Waiter waiter(args.group.control, args.timeout_ns);
  EnterWithSplits(channel, waiter, &shared);

  // Phase 2: offers, verdicts, and this rank's pairs.
  ExchangeOffers(channel, waiter, Operation::kOneShot, /*publishes=*/channel.block == 0, &shared);
  const std::uint64_t epoch = shared.outlook.epoch.number;
  const std::int64_t row_bytes = args.output_layout.row_bytes;

  // Phase 3: push.
  CopyShare(args.input, shared.pairs, args.group.world_size, row_bytes, shared.block_bytes, shared.peers.unwritable);
  __syncthreads();

  // Phase 4: done, and the peers' dones.
  if (warp != 0) return;
  UseEpoch(channel, epoch, args.window_index);
  SayDone(channel, shared.peers, epoch, Operation::kOneShot);
  const std::uint64_t wait_start = counts_wait ? NowNs() : 0;
  const bool any_late = AwaitDone(channel, waiter, &shared.peers, epoch, Operation::kOneShot, args.timeout_ns);
  if (shared.block_bytes <= kMaxOverlapBytes) LetNextKernelStart();
  if (counts_wait && Lane() == 0) CountWait(channel.shared(), kDoneWait, epoch, NowNs() - wait_start);
  if (any_late || AnyFault(shared.peers, channel.rank)) {
    const Tally tally = {epoch,
                         false,
                         args.window_index,
                         row_bytes,
                         SumOfRows(shared.exchange.input, args.group.world_size),
                         SumOfRows(shared.exchange.output, args.group.world_size)};
    FinishBadly(channel, &shared.peers, tally, Operation::kOneShot, args.group.channel_control, args.group.rank_control,
                waiter, EndWord(shared.exchange, waiter), counts_wait);
  }
}

}  // namespace

const void* OneShotKernel() { return reinterpret_cast<const void*>(&OneShotAllToAll); }

}  // namespace a8a::kernels::cuda
