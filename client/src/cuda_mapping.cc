#include "client/src/cuda_mapping.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {

CudaMapping::CudaMapping(std::shared_ptr<const CudaDevice> device, std::int64_t size_bytes, absl::string_view what)
    : device_(std::move(device)), size_bytes_(size_bytes), what_(what) {}

CudaMapping::~CudaMapping() {
  if (::getpid() != device_->owner_) return;
  // At the end of the process the driver may be gone already, and has unmapped everything.
  const cuda::DriverCalls& calls = device_->driver_->calls();
  if (mapped_) static_cast<void>(calls.mem_unmap(address_, size()));
  if (address_ != 0) static_cast<void>(calls.mem_address_free(address_, size()));
}

absl::Status CudaMapping::Establish(cuda::MemoryHandle memory) {
  const cuda::Driver& driver = *device_->driver_;
  A8A_RETURN_IF_ERROR(driver.ToStatus(driver.calls().mem_address_reserve(&address_, size(), 0, 0, 0),
                                      absl::StrCat(what_, ": reserving addresses for ", size_bytes_, " bytes")));
  A8A_RETURN_IF_ERROR(MapMemory(memory));
  return GrantAccess();
}

absl::Status CudaMapping::MapMemory(cuda::MemoryHandle memory) {
  const cuda::Driver& driver = *device_->driver_;
  const cuda::Result result = driver.calls().mem_map(address_, size(), 0, memory, 0);
  mapped_ = result == cuda::kSuccess;
  // How a driver answers when imported memory is not as large as what is to be mapped (seen with 580: "not supported").
  if (result == cuda::kResultNotSupported || result == cuda::kResultInvalidValue) {
    return absl::InternalError(
        absl::StrCat(what_, ": the descriptor is not memory of ", size_bytes_, " bytes, which the daemon said it is"));
  }
  return driver.ToStatus(result, absl::StrCat(what_, ": mapping ", size_bytes_, " bytes"));
}

absl::Status CudaMapping::GrantAccess() {
  const cuda::Driver& driver = *device_->driver_;
  const cuda::AccessDescription access = {{cuda::LocationType::kDevice, device_->ordinal()},
                                          cuda::AccessFlags::kReadWrite};
  return driver.ToStatus(driver.calls().mem_set_access(address_, size(), &access, 1),
                         absl::StrCat(what_, ": giving ", device_->uuid(), " access to it"));
}

std::byte* CudaMapping::data() const { return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(address_)); }

}  // namespace a8a::client
