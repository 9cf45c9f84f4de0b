#include "client/src/ipc_memory.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/cuda_runtime.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/limits.h"

namespace a8a::client {
namespace {

static_assert(sizeof(cudaIpcMemHandle_t) == kIpcHandleBytes);

struct Allocation {
  std::byte* base = nullptr;
  std::size_t size_bytes = 0;
};

// Of the driver only, which the runtime finds without linking it.
absl::StatusOr<Allocation> AllocationOf(const std::byte* data) {
  using GetAddressRange = CUresult (*)(CUdeviceptr*, std::size_t*, CUdeviceptr);
  void* entry = nullptr;
  A8A_RETURN_IF_ERROR(
      CudaToStatus(cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &entry, 12000, cudaEnableDefault, nullptr),
                   "looking for cuMemGetAddressRange"));
  CUdeviceptr base = 0;
  Allocation found;
  const auto result =
      reinterpret_cast<GetAddressRange>(entry)(&base, &found.size_bytes, reinterpret_cast<CUdeviceptr>(data));
  if (result != CUDA_SUCCESS) {
    return absl::InvalidArgumentError(
        absl::StrCat("cuMemGetAddressRange knows no allocation there (", static_cast<int>(result), ")"));
  }
  found.base = reinterpret_cast<std::byte*>(base);
  return found;
}

absl::Status CheckOnDevice(const CudaDevice& device, const std::byte* data) {
  cudaPointerAttributes attributes = {};
  A8A_RETURN_IF_ERROR(CudaToStatus(cudaPointerGetAttributes(&attributes, data), "asking what the window's memory is"));
  if (attributes.type != cudaMemoryTypeDevice) {
    return absl::InvalidArgumentError("the window's memory is not device memory of cudaMalloc");
  }
  if (attributes.device == device.ordinal()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the window's memory is on CUDA device ", attributes.device,
                                                 ", the group's rank on ", device.ordinal()));
}

class IpcMapping final : public Mapping {
 public:
  IpcMapping(std::shared_ptr<const CudaDevice> device, void* base) : device_(std::move(device)), base_(base) {}
  ~IpcMapping() override {
    if (!device_->IsOwner()) return;
    const CurrentDevice current(device_->ordinal());
    static_cast<void>(cudaIpcCloseMemHandle(base_));
  }
  IpcMapping(const IpcMapping&) = delete;
  IpcMapping& operator=(const IpcMapping&) = delete;

  // Where in the allocation the memory is; it has been checked.
  void Point(std::int64_t offset_bytes, std::int64_t size_bytes) {
    data_ = static_cast<std::byte*>(base_) + offset_bytes;
    size_bytes_ = size_bytes;
  }
  [[nodiscard]] std::byte* data() const override { return data_; }
  [[nodiscard]] std::int64_t size_bytes() const override { return size_bytes_; }

 private:
  const std::shared_ptr<const CudaDevice> device_;
  void* const base_;
  std::byte* data_ = nullptr;
  std::int64_t size_bytes_ = 0;
};

}  // namespace

absl::StatusOr<IpcMemory> ShareMemory(const CudaDevice& device, const std::byte* data, std::int64_t size_bytes) {
  A8A_RETURN_IF_ERROR(CheckOnDevice(device, data));
  A8A_ASSIGN_OR_RETURN(const Allocation allocation, AllocationOf(data));
  IpcMemory memory;
  memory.offset_bytes = data - allocation.base;
  const std::size_t left = allocation.size_bytes - static_cast<std::size_t>(memory.offset_bytes);
  if (size_bytes < 1 || static_cast<std::size_t>(size_bytes) > left) {
    return absl::InvalidArgumentError(
        absl::StrCat("the window's memory: ", size_bytes, " bytes; its allocation has ", left, " from there on"));
  }
  cudaIpcMemHandle_t handle = {};
  if (const cudaError_t error = cudaIpcGetMemHandle(&handle, allocation.base); error != cudaSuccess) {
    return absl::FailedPreconditionError(
        absl::StrCat(CudaToStatus(error, "the window's memory cannot be shared by cudaIpcGetMemHandle").message(),
                     "; memory of cudaMalloc can, that of cudaMallocAsync, cuMemCreate and allocators on them cannot"));
  }
  memory.handle.assign(handle.reserved, sizeof(handle.reserved));
  return memory;
}

absl::StatusOr<std::unique_ptr<Mapping>> MapIpcMemory(std::shared_ptr<const CudaDevice> device, const IpcMemory& memory,
                                                      std::int64_t size_bytes, absl::string_view what) {
  cudaIpcMemHandle_t handle = {};
  if (memory.handle.size() != sizeof(handle.reserved)) {
    return absl::InternalError(absl::StrCat(what, ": its IPC handle has ", memory.handle.size(), " bytes"));
  }
  std::memcpy(handle.reserved, memory.handle.data(), sizeof(handle.reserved));
  void* base = nullptr;
  if (const cudaError_t error = cudaIpcOpenMemHandle(&base, handle, cudaIpcMemLazyEnablePeerAccess);
      error != cudaSuccess) {
    return absl::FailedPreconditionError(absl::StrCat(
        CudaToStatus(error, absl::StrCat(what, ": opening its IPC handle")).message(),
        "; it cannot be opened in the process that made it, nor after that has freed the memory or ended"));
  }
  auto mapping = std::make_unique<IpcMapping>(std::move(device), base);
  A8A_ASSIGN_OR_RETURN(const Allocation allocation, AllocationOf(static_cast<const std::byte*>(base)));
  const auto end = static_cast<std::uint64_t>(memory.offset_bytes) + static_cast<std::uint64_t>(size_bytes);
  if (memory.offset_bytes < 0 || size_bytes < 1 || end > allocation.size_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": bytes [", memory.offset_bytes, ", ", end,
                                                   ") of an allocation of ", allocation.size_bytes));
  }
  mapping->Point(memory.offset_bytes, size_bytes);
  return std::unique_ptr<Mapping>(std::move(mapping));
}

}  // namespace a8a::client
