// The CUDA devices that this process sees, and the two properties of memory that daemon and client must agree on.
//
// Processes number devices differently (CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER), so identity between processes is the
// UUID, and order is that of the PCI bus.
#ifndef A8A_KERNELS_BASE_CUDA_DEVICE_H_
#define A8A_KERNELS_BASE_CUDA_DEVICE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/base/cuda_driver.h"

namespace a8a::cuda {

struct DeviceProperties {
  DeviceHandle handle = 0;  // what this process calls it; cudaSetDevice's number
  std::string uuid;         // "GPU-...", or "MIG-..." for a MIG instance
  std::string model;        // "NVIDIA H100 80GB HBM3"
  int pci_domain = 0;
  int pci_bus = 0;
  int pci_device = 0;
  std::int64_t memory_bytes = 0;
  bool is_mig_instance = false;
  bool has_virtual_memory = false;
  bool has_descriptors = false;
};

// Those that CUDA_VISIBLE_DEVICES leaves visible, in the driver's order; the index is the ordinal.
[[nodiscard]] absl::StatusOr<std::vector<DeviceProperties>> VisibleDevices(const Driver& driver);

// OK if memory of the device can be shared by descriptor. FAILED_PRECONDITION with the reason otherwise: a MIG
// instance, or a device without virtual memory management or descriptors.
[[nodiscard]] absl::Status CheckShareable(const DeviceProperties& device);

// What memory that is shared by descriptor is created with.
[[nodiscard]] AllocationProperties ShareableMemory(DeviceHandle device);

}  // namespace a8a::cuda

#endif  // A8A_KERNELS_BASE_CUDA_DEVICE_H_
