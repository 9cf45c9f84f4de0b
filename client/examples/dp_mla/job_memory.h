// Where the tensors of the main job lie: the processor makes and compares them in host memory, the device exchanges
// them where it can reach them.
//
// On the host both are the same memory and Push and Pull do nothing; on a GPU they copy. None of this is timed.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_JOB_MEMORY_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_JOB_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "a8a/client.h"
#include "a8a/types.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace a8a::dp_mla {

// One tensor.
class Tensor {
 public:
  virtual ~Tensor() = default;
  // For the processor.
  [[nodiscard]] virtual absl::Span<std::byte> host() = 0;
  // For all-to-alls.
  [[nodiscard]] virtual std::byte* device() const = 0;
  // What the processor has written goes to the device, and back.
  [[nodiscard]] virtual absl::Status Push() = 0;
  [[nodiscard]] virtual absl::Status Pull() = 0;
};

class JobMemory {
 public:
  virtual ~JobMemory() = default;
  [[nodiscard]] virtual Device device() const = 0;
  // The stream of all all-to-alls.
  [[nodiscard]] virtual Stream stream() const = 0;
  // Waits until the stream has come to its end.
  [[nodiscard]] virtual absl::Status Finish() const = 0;
  // Errors: RESOURCE_EXHAUSTED.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Tensor>> NewTensor(std::int64_t size_bytes) const = 0;
  // Over memory that is there already on the device, a window; it outlives the tensor.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Tensor>> Over(std::byte* device,
                                                                     std::int64_t size_bytes) const = 0;
};

[[nodiscard]] std::unique_ptr<const JobMemory> MakeHostJobMemory();

// The GPU that rank `rank` uses: the ranks take turns with the GPUs of this process.
//
// Errors: UNIMPLEMENTED (this program was built without CUDA), FAILED_PRECONDITION (no usable GPU).
[[nodiscard]] absl::StatusOr<std::unique_ptr<const JobMemory>> MakeCudaJobMemory(int rank);

// For --backend: what `backend` ("auto", "host" or "cuda") means with a daemon that has these devices. auto takes the
// host where the daemon has it.
//
// Errors: FAILED_PRECONDITION, naming the devices; those of MakeCudaJobMemory.
[[nodiscard]] absl::StatusOr<std::unique_ptr<const JobMemory>> MakeJobMemory(absl::string_view backend, int rank,
                                                                             absl::Span<const Device> devices);

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_JOB_MEMORY_H_
