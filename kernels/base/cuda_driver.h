// The CUDA driver, loaded at run time: one binary runs on machines with and without one.
//
// A Driver is a table of the calls that daemon and client make, constant after Load and as thread-safe as the driver
// itself. libcuda is never unloaded: it keeps threads of its own.
//
// CUDA_VISIBLE_DEVICES is the driver's affair: it hides devices from the whole process and orders the others. Nothing
// here depends on that order; devices are matched by UUID (cuda_device.h).
#ifndef A8A_KERNELS_BASE_CUDA_DRIVER_H_
#define A8A_KERNELS_BASE_CUDA_DRIVER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/base/cuda_abi.h"

namespace a8a::cuda {

inline constexpr char kDriverLibrary[] = "libcuda.so.1";
// CUDA 11.4: the first whose devices tell MIG instances from GPUs (cuDeviceGetUuid_v2).
inline constexpr int kDriverVersionMin = 11040;

// Members are named after their calls. The exact symbols, and with them the ABI of each call, are in cuda_driver.cc;
// that is why they come from dlsym: cuGetProcAddress chooses among ABIs by version.
struct DriverCalls {
  Result (*init)(unsigned flags) = nullptr;
  Result (*driver_get_version)(int* version) = nullptr;
  Result (*get_error_name)(Result result, const char** name) = nullptr;
  Result (*device_get_count)(int* count) = nullptr;
  Result (*device_get_uuid)(Uuid* uuid, DeviceHandle device) = nullptr;      // of the MIG instance, where it is one
  Result (*device_get_gpu_uuid)(Uuid* uuid, DeviceHandle device) = nullptr;  // of the whole GPU
  Result (*device_get_name)(char* name, int size, DeviceHandle device) = nullptr;
  Result (*device_get_attribute)(int* value, DeviceAttribute attribute, DeviceHandle device) = nullptr;
  Result (*device_total_mem)(std::size_t* bytes, DeviceHandle device) = nullptr;
  Result (*device_can_access_peer)(int* can_access, DeviceHandle device, DeviceHandle peer) = nullptr;
  Result (*device_get_p2p_attribute)(int* value, P2pAttribute attribute, DeviceHandle device,
                                     DeviceHandle peer) = nullptr;
  Result (*device_primary_ctx_retain)(Context* context, DeviceHandle device) = nullptr;
  Result (*device_primary_ctx_release)(DeviceHandle device) = nullptr;
  Result (*mem_get_allocation_granularity)(std::size_t* bytes, const AllocationProperties* properties,
                                           Granularity granularity) = nullptr;
  Result (*mem_create)(MemoryHandle* handle, std::size_t size, const AllocationProperties* properties,
                       unsigned long long flags) = nullptr;
  Result (*mem_release)(MemoryHandle handle) = nullptr;
  Result (*mem_export_to_shareable_handle)(void* shareable, MemoryHandle handle, HandleType type,
                                           unsigned long long flags) = nullptr;
  Result (*mem_import_from_shareable_handle)(MemoryHandle* handle, void* shareable, HandleType type) = nullptr;
  Result (*mem_get_allocation_properties)(AllocationProperties* properties, MemoryHandle handle) = nullptr;
  Result (*mem_address_reserve)(DeviceAddress* address, std::size_t size, std::size_t alignment, DeviceAddress hint,
                                unsigned long long flags) = nullptr;
  Result (*mem_address_free)(DeviceAddress address, std::size_t size) = nullptr;
  Result (*mem_map)(DeviceAddress address, std::size_t size, std::size_t offset, MemoryHandle handle,
                    unsigned long long flags) = nullptr;
  Result (*mem_unmap)(DeviceAddress address, std::size_t size) = nullptr;
  Result (*mem_set_access)(DeviceAddress address, std::size_t size, const AccessDescription* descriptions,
                           std::size_t count) = nullptr;
};

class Driver {
 public:
  // Loads and initializes the driver. Makes no context, which costs some 3 MiB of GPU memory and 30 descriptors.
  //
  // Errors: UNIMPLEMENTED (no such library here, or no device), FAILED_PRECONDITION (the driver is older than
  // kDriverVersionMin, or does not match its kernel module), UNAVAILABLE (the driver is not ready).
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const Driver>> Load(const std::string& library = kDriverLibrary);

  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  [[nodiscard]] const DriverCalls& calls() const { return calls_; }
  // 1000 * major + 10 * minor: the newest CUDA that the driver speaks.
  [[nodiscard]] int version() const { return version_; }
  // The result of a call as a Status, with the driver's name for it; see cuda_status.h.
  [[nodiscard]] absl::Status ToStatus(Result result, absl::string_view doing) const;

 private:
  Driver() = default;
  [[nodiscard]] absl::Status Resolve(void* library, const std::string& name);
  [[nodiscard]] absl::Status Initialize(const std::string& name);

  DriverCalls calls_;
  int version_ = 0;
};

}  // namespace a8a::cuda

#endif  // A8A_KERNELS_BASE_CUDA_DRIVER_H_
