#include "absl/status/status.h"
#include "client/examples/dp_mla/job_memory.h"

namespace a8a::dp_mla {

absl::StatusOr<std::unique_ptr<const JobMemory>> MakeCudaJobMemory(int /*rank*/) {
  return absl::UnimplementedError("this a8a-dp-mla was built without CUDA; it takes nvcc 12.8 or newer at build time");
}

}  // namespace a8a::dp_mla
