// A CUDA device of this process, and memory of the daemon mapped for it.
//
// Holds the device's primary context, the one that the CUDA runtime uses, so that it lives as long as mappings and
// captured graphs use it. cudaDeviceReset destroys the primary context whoever holds it: the application must not call
// it while groups or buffers live.
//
// Processes number devices differently: Device::Cuda(n) is what cudaSetDevice(n) means here, after
// CUDA_VISIBLE_DEVICES; the daemon's name for it is found by UUID.
//
// Thread-safe: constant after construction.
#ifndef A8A_CLIENT_SRC_CUDA_DEVICE_H_
#define A8A_CLIENT_SRC_CUDA_DEVICE_H_

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/src/mapping.h"
#include "kernels/base/cuda_device.h"
#include "kernels/base/cuda_driver.h"
#include "kernels/base/unique_fd.h"

namespace a8a::client {

class CudaDevice : public std::enable_shared_from_this<CudaDevice> {
 public:
  // The device that cudaSetDevice(ordinal) chooses.
  //
  // Errors: UNIMPLEMENTED (no driver or device), INVALID_ARGUMENT (no such ordinal; says how many there are),
  // FAILED_PRECONDITION (the device cannot share memory; the context is broken), those of the driver.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const CudaDevice>> Open(
      std::shared_ptr<const cuda::Driver> driver, int ordinal);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  [[nodiscard]] int ordinal() const { return self().handle; }
  // False in a child that was forked after Open.
  [[nodiscard]] bool IsOwner() const { return ::getpid() == owner_; }
  [[nodiscard]] const std::string& uuid() const { return self().uuid; }

  // Maps memory of the daemon, of this device or a peer, readable and writable by this device, and closes the
  // descriptor. The address stays the same until the mapping is destroyed, so that captured graphs may hold it; no
  // kernel that uses it may be running then. `what` names the memory in messages.
  //
  // Errors: FAILED_PRECONDITION (memory of a peer that this device cannot access, or not with atomics, which revoking a
  // credit takes; names both devices), RESOURCE_EXHAUSTED (no memory or address space),
  // INTERNAL (the descriptor is not memory of `size_bytes`), those of the driver.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> Map(UniqueFd fd, std::int64_t size_bytes,
                                                             absl::string_view what) const;

 private:
  friend class CudaMapping;

  CudaDevice(std::shared_ptr<const cuda::Driver> driver, std::vector<cuda::DeviceProperties> visible, int ordinal);

  [[nodiscard]] const cuda::DeviceProperties& self() const { return visible_[static_cast<std::size_t>(ordinal_)]; }
  [[nodiscard]] absl::Status CheckPeer(const cuda::DeviceProperties& peer) const;
  [[nodiscard]] absl::Status CheckOwner(cuda::MemoryHandle memory, absl::string_view what) const;

  const std::shared_ptr<const cuda::Driver> driver_;
  const std::vector<cuda::DeviceProperties> visible_;
  const int ordinal_;
  // A forked child has no CUDA, and must not touch its parent's.
  const pid_t owner_;
};

// A device as the daemon lists it.
struct DaemonDevice {
  std::string name;
  std::string uuid;
};

// The daemon's name for the device with that UUID.
//
// Errors: NOT_FOUND, naming the devices that the daemon has.
[[nodiscard]] absl::StatusOr<std::string> DaemonDeviceName(absl::string_view uuid,
                                                           absl::Span<const DaemonDevice> devices);

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_CUDA_DEVICE_H_
