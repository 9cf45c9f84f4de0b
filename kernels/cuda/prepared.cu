// Prepared all-to-all, push form: rank r stores the rows that its plan names into the windows of its peers.
// Layout    input and output: 3-D views, DevicePlan::pairs has both sides' steps for every pair; any row size.
// Launch    grid = block_count + 1 (the last block counts), block = kThreads, no dynamic shared memory; one launch per
//           epoch; may be set up while the stream's kernel before it still runs (programmatic dependent launch).
// Needs     DevicePlan of a Prepare on this channel; all blocks of all ranks on one device resident at once.
// Ordering  payload stores, __syncthreads, then each lane of warp 0 that has a peer: fence.acq_rel.sys, st.relaxed.sys
//           of a StampedWord to the peer's done word of the same block number; the reader polls it with ld.acquire.sys,
//           and the stream's next kernel reads the rows. [PTX ISA, memory consistency model]
// Reuse     a done word of epoch e is stored again in e + 2, after the reader's done of e + 1, hence after its read. A
//           window is free for e because every rank was seen to have started e - 1, so had read the output of e - 2;
//           an epoch that repeats the window of e - 1 first exchanges ready tickets. See epoch_device.cuh.
// Failure   every wait ends by deadline or abort word, becomes a fault of the pair and an ErrorRecord; the epoch is
// used. Oracle    reference/all_to_all_reference.cc; compared bit for bit in tests/gpu/random_test.cc.
#include "kernels/cuda/prepared_device.cuh"

namespace a8a::kernels::cuda {

const void* PreparedKernel() { return reinterpret_cast<const void*>(&PreparedAllToAll</*kCounts=*/true>); }

}  // namespace a8a::kernels::cuda
