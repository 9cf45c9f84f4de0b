// Device memory for the plans of one group.
//
// Prepare can be captured in a graph, where nothing may be allocated; so plans take from memory that was allocated when
// the group was joined, and more is allocated outside of captures only. What a destroyed plan gives back is used by the
// next one: a plan outlives the launches and graphs that use it.
//
// Thread-safe.
#ifndef A8A_CLIENT_SRC_PLAN_POOL_H_
#define A8A_CLIENT_SRC_PLAN_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/src/cuda_device.h"
#include "kernels/base/mutex.h"
#include "kernels/include/cuda_all_to_all.h"

namespace a8a::client {

class PlanPool {
 public:
  // Memory for a step of decoding with every direction and layer apart, some hundred kilobytes.
  static constexpr int kPlansOfSlab = 32;

  // The device must be current, here and in Take. Errors: RESOURCE_EXHAUSTED, INTERNAL.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<PlanPool>> Create(std::shared_ptr<const CudaDevice> device);
  ~PlanPool();
  PlanPool(const PlanPool&) = delete;
  PlanPool& operator=(const PlanPool&) = delete;

  // kPlanBytes for a plan that is prepared on `stream`. Errors: as Create, and FAILED_PRECONDITION (none left while
  // the stream is being captured).
  [[nodiscard]] absl::StatusOr<void*> Take(kernels::cuda::Stream stream);
  void Give(void* plan);

  [[nodiscard]] std::int64_t size_bytes() const;

 private:
  explicit PlanPool(std::shared_ptr<const CudaDevice> device) : device_(std::move(device)) {}
  [[nodiscard]] absl::Status Grow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<const CudaDevice> device_;  // keeps the primary context
  mutable Mutex mutex_;
  std::vector<std::byte*> slabs_ ABSL_GUARDED_BY(mutex_);
  std::vector<void*> free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_PLAN_POOL_H_
