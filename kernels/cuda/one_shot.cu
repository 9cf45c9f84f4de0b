// One-shot all-to-all, push form: ranks exchange what they expect and send, then store rows into their peers' windows.
// Layout    input and output: 3-D views; splits and offsets: world_size int32 or int64 on the device.
// Launch    grid = block_count, block = kThreads, no dynamic shared memory; one launch per epoch; may be set up while
//           the stream's kernel before it still runs (programmatic dependent launch).
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

__global__ void __launch_bounds__(kThreads, 1) OneShotAllToAll(const __grid_constant__ ExchangeArgs args) {
  __shared__ ExchangeShared shared;
  __shared__ volatile int counted;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const Channel channel = {
      args.group.flags[args.group.rank], args.group.offsets,          args.group.rank, args.group.world_size,
      static_cast<int>(gridDim.x),       static_cast<int>(blockIdx.x)};
  const bool counts = channel.block == 0;
  WaitForEarlierKernels();

  // Phase 1: may this epoch store; the splits.
  Waiter waiter(args.group.control, args.timeout_ns);
  if (threadIdx.x == 0) counted = 0;
  EnterWithSplits(channel, waiter, args, &shared);

  // Phase 2: offers, verdicts, and this rank's pairs.
  ExchangeOffers(channel, waiter, args, Operation::kOneShot, /*publishes=*/channel.block == 0, &shared);
  const std::uint64_t epoch = shared.outlook.epoch.number;
  const std::int64_t row_bytes = args.output_layout.row_bytes;

  // Phase 3: push.
  CounterStore counter = {nullptr, 0};
  const Tally tally = {epoch, false, args.window_index, row_bytes, shared.rows_sent, shared.rows_received};
  if (counts && warp == kWarps - 1) {
    counter = CountOperation(channel, args.group.channel_control, args.group.rank_control, tally);
  }
  CopyShare(args.input, shared.pairs, args.group.world_size, row_bytes, shared.block_bytes, shared.peers.unwritable);
  __syncthreads();

  // Phase 4: done, and the peers' dones.
  if (warp == 0) {
    SayDone(channel, shared.peers, epoch, Operation::kOneShot);
    if (counts) LetCounterWarpGo();
    const std::uint64_t wait_start = counts ? NowNs() : 0;
    const bool any_late = AwaitDone(channel, waiter, &shared.peers, epoch, Operation::kOneShot, args.timeout_ns);
    if (shared.block_bytes <= kMaxOverlapBytes) LetNextKernelStart();
    if (counts && Lane() == 0) CountWait(channel.shared(), kDoneWait, epoch, NowNs() - wait_start);
    if (any_late || AnyFault(shared.peers, channel.rank)) {
      FinishBadly(channel, &shared.peers, tally, Operation::kOneShot, args.group.channel_control,
                  args.group.rank_control, waiter.abort_word(), counts, [&] { WaitUntilCounted(&counted); });
    }
    if (Lane() == 0) *channel.block_state(channel.block) = {epoch, args.window_index + 1};
  } else if (counts && warp == kWarps - 1) {
    WaitForDones();
    StoreCounters(counter);
    __syncwarp();
    counted = 1;
  }
}

}  // namespace

const void* OneShotKernel() { return reinterpret_cast<const void*>(&OneShotAllToAll); }

}  // namespace a8a::kernels::cuda
