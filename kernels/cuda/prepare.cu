// Prepare: ranks exchange what they expect and send, and each writes the plan of its prepared all-to-alls.
// Layout    splits and offsets: world_size int32 or int64 on the device; the plan: DevicePlan.
// Launch    grid = 1, block = kThreads, no dynamic shared memory; one launch per epoch; may be set up while the
//           stream's kernel before it still runs (programmatic dependent launch).
// Needs     nothing resident beside it but the peers' Prepare.
// Ordering  offers: 16-byte stores of value and stamp, no fence. The plan: plain stores, read by later kernels of the
//           stream. Dones tell no data here: that the epoch is over is seen from the offers.
// Reuse     as in one_shot.cu. The plan's earlier contents are read by earlier kernels of the stream only.
// Failure   a fault of a pair is found alike by both ranks and stays in the plan, whose all-to-alls report it again and
//           move the other pairs; waits end as in prepared.cu.
// Oracle    through the all-to-alls of its plans: tests/gpu/random_test.cc.
#include "kernels/cuda/exchange_device.cuh"

namespace a8a::kernels::cuda {
namespace {

// Later epochs look at the dones of every block.
__device__ void SayDoneForAllBlocks(const Channel& channel, const PeerTable& peers, std::uint64_t epoch) {
  const int block_count = channel.block_count;
  for (int i = static_cast<int>(threadIdx.x); i < block_count * channel.world_size; i += kThreads) {
    const int peer = i / block_count;
    if (peer == channel.rank) continue;
    StoreRelaxed(channel.DoneTo(peers.segment[peer], epoch, i % block_count),
                 {0, MakeStamp(epoch, Operation::kPrepare)});
  }
}

__device__ void WritePlan(const ExchangeArgs& args, const ExchangeShared& shared, DevicePlan* plan) {
  const int thread = static_cast<int>(threadIdx.x);
  const int world_size = args.group.world_size;
  constexpr int kWordsPerPair = sizeof(SendPair) / sizeof(uint4);
  for (int i = thread; i < world_size * kWordsPerPair; i += kThreads) {
    reinterpret_cast<uint4*>(plan->pairs)[i] = reinterpret_cast<const uint4*>(shared.pairs)[i];
  }
  if (thread < world_size) {
    const PeerTable& peers = shared.peers;
    // Aborted before the exchange was over: no pair is cleared.
    const Fault all = peers.aborted.fault;
    const bool closed = (peers.unwritable >> thread & 1) != 0 && peers.send[thread].ok();
    const Fault send = closed ? Fault::kDeadline : peers.send[thread].fault;
    plan->group.flags[thread] = args.group.flags[thread];
    plan->send_faults[thread] = all != Fault::kNone ? all : send;
    plan->receive_faults[thread] = all != Fault::kNone ? all : peers.receive[thread].fault;
    plan->send_rows[thread] = closed ? 0 : peers.send_rows[thread];
    plan->receive_rows[thread] = peers.receive_rows[thread];
  }
}

// By one thread.
__device__ void WritePlanHeader(const ExchangeArgs& args, const ExchangeShared& shared, bool any_fault,
                                DevicePlan* plan) {
  plan->row_bytes = args.output_layout.row_bytes;
  plan->block_bytes = shared.block_bytes;
  plan->total_bytes = shared.total_bytes;
  plan->rows_sent = shared.rows_sent;
  plan->rows_received = shared.rows_received;
  plan->any_fault = any_fault ? 1 : 0;
  plan->group.rank = args.group.rank;
  plan->group.world_size = args.group.world_size;
  plan->group.block_count = args.group.block_count;
  plan->group.offsets = args.group.offsets;
  plan->group.control = args.group.control;
  plan->group.channel_control = args.group.channel_control;
  plan->group.rank_control = args.group.rank_control;
}

__global__ void __launch_bounds__(kThreads, 1) PrepareAllToAll(const __grid_constant__ ExchangeArgs kernel_args) {
  __shared__ ExchangeShared shared;
  const int thread = static_cast<int>(threadIdx.x);
  const ExchangeArgs& args = shared.args;
  TakeArgs(kernel_args, &shared.args);
  __syncthreads();
  const Channel channel = {args.group.flags[args.group.rank],
                           args.group.offsets,
                           args.group.rank,
                           args.group.world_size,
                           args.group.block_count,
                           /*block=*/0};
  WaitForEarlierKernels();

  // Phase 1: the epoch, the splits.
  Waiter waiter(args.group.control, args.timeout_ns);
  EnterWithSplits(channel, waiter, &shared);

  // Phase 2: offers, verdicts, and this rank's pairs.
  ExchangeOffers(channel, waiter, Operation::kPrepare, /*publishes=*/true, &shared);
  const std::uint64_t epoch = shared.outlook.epoch.number;
  SayDoneForAllBlocks(channel, shared.peers, epoch);
  for (int block = thread; block < args.group.block_count; block += kThreads) {
    channel.block_state(block)->epoch = epoch;
  }

  // Phase 3: the plan.
  if (thread == kMaxWorldSize) SumRows(channel, &shared);
  bool faulty =
      thread < args.group.world_size && !(shared.peers.send[thread].ok() && shared.peers.receive[thread].ok());
  faulty = faulty || shared.peers.unwritable != 0 || !shared.peers.aborted.ok();
  const bool any_fault = __syncthreads_or(faulty) != 0;
  if (any_fault) {
    if (thread < kWarpSize) BlameTheEnd(waiter, &shared.peers);
    __syncthreads();
  }
  WritePlan(args, shared, args.plan);
  if (thread < kWarpSize) {
    const CounterStore counter = CountOperation(channel, args.group.channel_control, args.group.rank_control,
                                                {epoch, true, args.window_index, 0, 0, 0});
    if (thread == 0) WritePlanHeader(args, shared, any_fault, args.plan);
    if (any_fault) {
      ReportPlainest(channel, shared.peers, epoch, Operation::kPrepare, args.group.channel_control,
                     EndWord(shared.exchange, waiter));
    }
    StoreCounters(counter);
  }
}

}  // namespace

const void* PrepareKernel() { return reinterpret_cast<const void*>(&PrepareAllToAll); }

}  // namespace a8a::kernels::cuda
