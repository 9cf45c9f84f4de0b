// Memory of the daemon in the address space of a CUDA device. Made by CudaDevice::Map only.
//
// Not thread-safe; its destructor unmaps. The device outlives it.
#ifndef A8A_CLIENT_SRC_CUDA_MAPPING_H_
#define A8A_CLIENT_SRC_CUDA_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/src/cuda_device.h"
#include "client/src/mapping.h"

namespace a8a::client {

class CudaMapping final : public Mapping {
 public:
  // Nothing is reserved or mapped yet; the destructor undoes as much as was done.
  CudaMapping(std::shared_ptr<const CudaDevice> device, std::int64_t size_bytes, absl::string_view what);
  ~CudaMapping() override;
  CudaMapping(const CudaMapping&) = delete;
  CudaMapping& operator=(const CudaMapping&) = delete;

  // Reserves addresses, maps `memory` there and grants the device access. Called once; errors as CudaDevice::Map.
  [[nodiscard]] absl::Status Establish(cuda::MemoryHandle memory);

  // An address of the device, not of the host.
  [[nodiscard]] std::byte* data() const override;
  [[nodiscard]] std::int64_t size_bytes() const override { return size_bytes_; }

 private:
  [[nodiscard]] absl::Status MapMemory(cuda::MemoryHandle memory);
  [[nodiscard]] absl::Status GrantAccess();
  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(size_bytes_); }

  const std::shared_ptr<const CudaDevice> device_;
  const std::int64_t size_bytes_;
  const std::string what_;
  cuda::DeviceAddress address_ = 0;
  bool mapped_ = false;
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_CUDA_MAPPING_H_
