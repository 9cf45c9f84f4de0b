// The CUDA memory provider: GPU memory that processes share by file descriptor, one provider for each device.
//
// No CUDA context is ever made: allocation, export and import need none, so the daemon costs some 3 MiB of GPU memory
// and no kernel's fault can reach it. An allocation is its descriptor and nothing else: the driver's handle is released
// at once, and the driver frees the pages when the last descriptor and mapping in any process is gone. Fresh memory is
// zero; the driver scrubs it.
//
// Devices are named "cuda:N", N counting the devices that the daemon sees in PCI order. CUDA_VISIBLE_DEVICES in the
// daemon's own environment hides devices from it; the order in which it lists them, and CUDA_DEVICE_ORDER, change
// nothing.
//
// Thread-safe: constant after construction.
#ifndef A8A_DAEMON_MEMORY_CUDA_MEMORY_H_
#define A8A_DAEMON_MEMORY_CUDA_MEMORY_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/memory/memory_provider.h"
#include "kernels/base/cuda_device.h"
#include "kernels/base/cuda_driver.h"

namespace a8a::daemon {

struct CudaMemoryOptions {
  // Limit of all leases of one device together; 0: half of its memory.
  std::int64_t pool_limit_bytes = 0;
  // Limits of single devices, by name or UUID; they win over pool_limit_bytes.
  std::map<std::string, std::int64_t> pool_limit_bytes_by_device;
};

class CudaMemoryProvider final : public MemoryProvider {
 public:
  // `pool_limit_bytes` 0: half of the device's memory.
  //
  // Errors: FAILED_PRECONDITION (the device cannot share memory by descriptor; says why), and those of the driver.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CudaMemoryProvider>> Create(
      std::shared_ptr<const cuda::Driver> driver, const cuda::DeviceProperties& properties, const std::string& name,
      std::int64_t pool_limit_bytes);

  [[nodiscard]] const DeviceInfo& device() const override { return device_; }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Allocation>> Allocate(std::int64_t size_bytes,
                                                                     absl::string_view name) override;
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Allocation>> Adopt(UniqueFd* fd, std::int64_t size_bytes,
                                                                  FileId file) override;
  // Imports the descriptor back instead of writing through it: without a context there is nothing to write with.
  [[nodiscard]] absl::Status Probe() override;

 private:
  CudaMemoryProvider(std::shared_ptr<const cuda::Driver> driver, const cuda::DeviceProperties& properties,
                     DeviceInfo device);

  [[nodiscard]] absl::Status CheckImport(int fd, absl::string_view what) const;
  [[nodiscard]] absl::Status OutOfMemory(std::int64_t size_bytes) const;
  [[nodiscard]] std::string Doing(absl::string_view what) const;

  const std::shared_ptr<const cuda::Driver> driver_;
  const cuda::DeviceHandle handle_;
  const std::int64_t memory_bytes_;
  const DeviceInfo device_;
  // Of allocations that live; shared with them, because they may outlive the provider.
  const std::shared_ptr<std::atomic<std::int64_t>> live_bytes_;
};

// The CUDA devices of a daemon.
struct CudaProviders {
  std::vector<std::unique_ptr<MemoryProvider>> providers;  // in order of their names; at least one
  std::vector<absl::Status> refused;                       // one for each device that is left out, naming it
};

// One provider for each device that the daemon sees and that can share memory. `library` is the driver's.
//
// Errors: UNIMPLEMENTED (no driver or no device), FAILED_PRECONDITION (the driver is too old, or no device can share
// memory; says why), INVALID_ARGUMENT (options name a device that is not there; names those that are), and those of the
// driver.
[[nodiscard]] absl::StatusOr<CudaProviders> MakeCudaProviders(const CudaMemoryOptions& options,
                                                              const std::string& library = cuda::kDriverLibrary);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_MEMORY_CUDA_MEMORY_H_
