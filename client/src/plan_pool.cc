#include "client/src/plan_pool.h"

#include <cuda_runtime_api.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/cuda_runtime.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {

using kernels::cuda::kPlanBytes;
static_assert(kPlanBytes % kernels::cuda::kPlanAlignment == 0);

absl::StatusOr<std::shared_ptr<PlanPool>> PlanPool::Create(std::shared_ptr<const CudaDevice> device) {
  std::shared_ptr<PlanPool> pool(new PlanPool(std::move(device)));
  const MutexLock lock(&pool->mutex_);
  A8A_RETURN_IF_ERROR(pool->Grow());
  return pool;
}

PlanPool::~PlanPool() {
  if (!device_->IsOwner()) return;
  const CurrentDevice current(device_->ordinal());
  const MutexLock lock(&mutex_);
  for (std::byte* slab : slabs_) static_cast<void>(cudaFree(slab));
}

absl::StatusOr<void*> PlanPool::Take(kernels::cuda::Stream stream) {
  const MutexLock lock(&mutex_);
  if (free_.empty()) {
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    // Fails for the legacy stream while another is captured: then nothing may be allocated either.
    const cudaError_t error = cudaStreamIsCapturing(stream, &capture);
    if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
    if (error != cudaSuccess || capture != cudaStreamCaptureStatusNone) {
      return absl::FailedPreconditionError(
          absl::StrCat("no memory is left for a plan and none can be allocated while a stream is being captured: ",
                       slabs_.size() * kPlansOfSlab, " plans of this group are in use; destroy plans, or call Prepare ",
                       "once before the capture"));
    }
    A8A_RETURN_IF_ERROR(Grow());
  }
  void* const plan = free_.back();
  free_.pop_back();
  return plan;
}

void PlanPool::Give(void* plan) {
  const MutexLock lock(&mutex_);
  free_.push_back(plan);
}

std::int64_t PlanPool::size_bytes() const {
  const MutexLock lock(&mutex_);
  return static_cast<std::int64_t>(slabs_.size() * kPlansOfSlab * kPlanBytes);
}

absl::Status PlanPool::Grow() {
  void* slab = nullptr;
  A8A_RETURN_IF_ERROR(CudaToStatus(cudaMalloc(&slab, kPlansOfSlab * kPlanBytes), "allocating device memory for plans"));
  slabs_.push_back(static_cast<std::byte*>(slab));
  for (int i = kPlansOfSlab; i-- > 0;) free_.push_back(slabs_.back() + static_cast<std::size_t>(i) * kPlanBytes);
  return absl::OkStatus();
}

}  // namespace a8a::client
