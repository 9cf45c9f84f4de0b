#include "client/src/cuda_device.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/src/cuda_mapping.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {
namespace {

absl::StatusOr<cuda::MemoryHandle> Import(const cuda::Driver& driver, int fd, absl::string_view what) {
  cuda::MemoryHandle memory = 0;
  void* const shareable = reinterpret_cast<void*>(static_cast<std::intptr_t>(fd));
  A8A_RETURN_IF_ERROR(driver.ToStatus(
      driver.calls().mem_import_from_shareable_handle(&memory, shareable, cuda::HandleType::kPosixFileDescriptor),
      absl::StrCat(what, ": importing its descriptor")));
  return memory;
}

}  // namespace

CudaDevice::CudaDevice(std::shared_ptr<const cuda::Driver> driver, std::vector<cuda::DeviceProperties> visible,
                       int ordinal)
    : driver_(std::move(driver)), visible_(std::move(visible)), ordinal_(ordinal), owner_(::getpid()) {}

CudaDevice::~CudaDevice() {
  if (IsOwner()) static_cast<void>(driver_->calls().device_primary_ctx_release(self().handle));
}

absl::StatusOr<std::shared_ptr<const CudaDevice>> CudaDevice::Open(std::shared_ptr<const cuda::Driver> driver,
                                                                   int ordinal) {
  A8A_ASSIGN_OR_RETURN(std::vector<cuda::DeviceProperties> visible, cuda::VisibleDevices(*driver));
  if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= visible.size()) {
    return absl::InvalidArgumentError(absl::StrCat("CUDA device ", ordinal, " is not there: this process sees ",
                                                   visible.size(), " (CUDA_VISIBLE_DEVICES hides others)"));
  }
  A8A_RETURN_IF_ERROR(cuda::CheckShareable(visible[static_cast<std::size_t>(ordinal)]));
  cuda::Context context = nullptr;
  A8A_RETURN_IF_ERROR(driver->ToStatus(driver->calls().device_primary_ctx_retain(&context, ordinal),
                                       absl::StrCat("retaining the primary context of CUDA device ", ordinal)));
  return std::shared_ptr<const CudaDevice>(new CudaDevice(std::move(driver), std::move(visible), ordinal));
}

absl::Status CudaDevice::CheckPeer(const cuda::DeviceProperties& peer) const {
  if (peer.handle == self().handle) return absl::OkStatus();
  const std::string both = absl::StrCat("devices ", self().uuid, " and ", peer.uuid);
  int can_access = 0;
  int has_atomics = 0;
  A8A_RETURN_IF_ERROR(
      driver_->ToStatus(driver_->calls().device_can_access_peer(&can_access, self().handle, peer.handle),
                        absl::StrCat("asking for peer access between ", both)));
  if (can_access == 0) {
    return absl::FailedPreconditionError(absl::StrCat(both, " have no peer access: no link between them allows it"));
  }
  A8A_RETURN_IF_ERROR(
      driver_->ToStatus(driver_->calls().device_get_p2p_attribute(
                            &has_atomics, cuda::P2pAttribute::kNativeAtomicSupported, self().handle, peer.handle),
                        absl::StrCat("asking for peer atomics between ", both)));
  if (has_atomics != 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      both, " have peer access but no native atomics between them; a8a needs both (NVLink has them, PCIe has not)"));
}

absl::Status CudaDevice::CheckOwner(cuda::MemoryHandle memory, absl::string_view what) const {
  cuda::AllocationProperties properties = {};
  A8A_RETURN_IF_ERROR(driver_->ToStatus(driver_->calls().mem_get_allocation_properties(&properties, memory),
                                        absl::StrCat(what, ": asking which device it is of")));
  for (const cuda::DeviceProperties& peer : visible_) {
    if (peer.handle == properties.location.id) return CheckPeer(peer);
  }
  return absl::OkStatus();  // hidden from this process: the driver itself checks when access is granted
}

absl::StatusOr<std::unique_ptr<Mapping>> CudaDevice::Map(UniqueFd fd, std::int64_t size_bytes,
                                                         absl::string_view what) const {
  A8A_ASSIGN_OR_RETURN(const cuda::MemoryHandle memory, Import(*driver_, fd.get(), what));
  auto mapping = std::make_unique<CudaMapping>(shared_from_this(), size_bytes, what);
  absl::Status status = CheckOwner(memory, what);
  if (status.ok()) status = mapping->Establish(memory);
  // The mapping holds the memory from here on.
  static_cast<void>(driver_->calls().mem_release(memory));
  A8A_RETURN_IF_ERROR(status);
  return std::unique_ptr<Mapping>(std::move(mapping));
}

absl::StatusOr<std::string> DaemonDeviceName(absl::string_view uuid, absl::Span<const DaemonDevice> devices) {
  for (const DaemonDevice& device : devices) {
    if (device.uuid == uuid) return device.name;
  }
  const std::string known = absl::StrJoin(devices, ", ", [](std::string* out, const DaemonDevice& device) {
    absl::StrAppend(out, device.name, device.uuid.empty() ? "" : " ", device.uuid);
  });
  return absl::NotFoundError(
      absl::StrCat("the daemon has no device ", uuid, "; it has ", known.empty() ? "none" : known));
}

}  // namespace a8a::client
