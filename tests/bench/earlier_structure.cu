// All-to-all as the earlier public kernel did it, for comparison only: a table says which warps work for which
// destination; each lane finds its vector by division, and copies one 16-byte vector a turn; one barrier over all ranks
// at the end, with counters.
// Layout    EarlierEntry: rows of row_vectors 16-byte vectors, one stride on either side.
// Launch    grid = block_count, block = 512; no dynamic shared memory; one launch per epoch.
// Needs     all blocks of all ranks resident at once; nothing is checked, no wait is bounded.
// Ordering  payload stores, __syncthreads, then one red.release.sys per peer; the reader polls with ld.acquire.sys.
// Reuse     counters only grow: epoch e ends at e * block_count * world_size.
// Failure   none is noticed: a missing peer hangs it.
// Oracle    the bench compares its output with that of the prepared kernel.
#include "kernels/cuda/prepared_device.cuh"
#include "tests/bench/earlier_structure.h"

namespace a8a::bench {
namespace {

using kernels::cuda::kThreads;
using kernels::cuda::kWarpSize;

__global__ void __launch_bounds__(kThreads) EarlierAllToAll(const __grid_constant__ EarlierArgs args) {
  const std::int64_t warp = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int peer = 0; peer < args.world_size; ++peer) {
    const EarlierEntry& entry = args.table[peer];
    if (warp < entry.first_warp || warp >= entry.first_warp + entry.warps) continue;
    const std::int64_t count = entry.rows * args.row_vectors;
    for (std::int64_t v = (warp - entry.first_warp) * kWarpSize + lane; v < count; v += entry.warps * kWarpSize) {
      const std::int64_t row = v / args.row_vectors;
      const std::int64_t column = v % args.row_vectors * 16;
      *reinterpret_cast<uint4*>(entry.to + row * entry.to_stride + column) =
          *reinterpret_cast<const uint4*>(entry.from + row * entry.from_stride + column);
    }
  }
  __syncthreads();
  // Per block, so that no block reads what another has already counted up.
  const std::uint64_t epoch = args.epochs[blockIdx.x] + 1;
  if (threadIdx.x < static_cast<unsigned>(args.world_size)) {
    asm volatile("red.release.sys.global.add.u64 [%0], 1;" ::"l"(args.peer_arrivals[threadIdx.x]) : "memory");
  }
  if (threadIdx.x == 0) {
    const std::uint64_t all = epoch * gridDim.x * static_cast<unsigned>(args.world_size);
    while (kernels::cuda::LoadAcquire(args.arrivals) < all) {
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) args.epochs[blockIdx.x] = epoch;
}

}  // namespace

void LaunchEarlier(const EarlierArgs& args, int block_count, kernels::cuda::Stream stream) {
  EarlierAllToAll<<<block_count, kThreads, 0, stream>>>(args);
}

const void* PreparedKernelWithoutCounters() {
  return reinterpret_cast<const void*>(&kernels::cuda::PreparedAllToAll</*kCounts=*/false>);
}

}  // namespace a8a::bench
