#include "kernels/base/cuda_driver.h"

#include <dlfcn.h>

#include <type_traits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/cuda_status.h"
#include "kernels/base/status_macros.h"

namespace a8a::cuda {
namespace {

std::string VersionText(int version) { return absl::StrCat(version / 1000, ".", version % 1000 / 10); }

absl::Status NotLoaded(const std::string& library, absl::string_view reason) {
  // Any other reason (another architecture, a library of its own that is missing) is worth its text.
  const bool missing = absl::StartsWith(reason, library) && absl::StrContains(reason, "No such file");
  return absl::UnimplementedError(missing ? absl::StrCat(library, " is not there: this machine has no CUDA driver")
                                          : absl::StrCat(library, " cannot be loaded: ", reason));
}

absl::Status TooOld(const std::string& library, absl::string_view how) {
  return absl::FailedPreconditionError(
      absl::StrCat(library, " is too old: it ", how, "; needed is CUDA ", VersionText(kDriverVersionMin), " or newer"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Driver>> Driver::Load(const std::string& library) {
  void* const handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return NotLoaded(library, ::dlerror());
  std::shared_ptr<Driver> driver(new Driver());
  A8A_RETURN_IF_ERROR(driver->Resolve(handle, library));
  A8A_RETURN_IF_ERROR(driver->Initialize(library));
  return std::shared_ptr<const Driver>(std::move(driver));
}

absl::Status Driver::Resolve(void* library, const std::string& name) {
  absl::Status status;
  const auto resolve = [&](const char* symbol, auto* call) {
    *call = reinterpret_cast<std::remove_pointer_t<decltype(call)>>(::dlsym(library, symbol));
    if (*call == nullptr) status.Update(TooOld(name, absl::StrCat("has no ", symbol)));
  };
  resolve("cuInit", &calls_.init);
  resolve("cuDriverGetVersion", &calls_.driver_get_version);
  resolve("cuGetErrorName", &calls_.get_error_name);
  resolve("cuDeviceGetCount", &calls_.device_get_count);
  resolve("cuDeviceGetUuid_v2", &calls_.device_get_uuid);
  resolve("cuDeviceGetUuid", &calls_.device_get_gpu_uuid);
  resolve("cuDeviceGetName", &calls_.device_get_name);
  resolve("cuDeviceGetAttribute", &calls_.device_get_attribute);
  resolve("cuDeviceTotalMem_v2", &calls_.device_total_mem);
  resolve("cuDeviceCanAccessPeer", &calls_.device_can_access_peer);
  resolve("cuDeviceGetP2PAttribute", &calls_.device_get_p2p_attribute);
  resolve("cuDevicePrimaryCtxRetain", &calls_.device_primary_ctx_retain);
  resolve("cuDevicePrimaryCtxRelease_v2", &calls_.device_primary_ctx_release);
  resolve("cuMemGetAllocationGranularity", &calls_.mem_get_allocation_granularity);
  resolve("cuMemCreate", &calls_.mem_create);
  resolve("cuMemRelease", &calls_.mem_release);
  resolve("cuMemExportToShareableHandle", &calls_.mem_export_to_shareable_handle);
  resolve("cuMemImportFromShareableHandle", &calls_.mem_import_from_shareable_handle);
  resolve("cuMemGetAllocationPropertiesFromHandle", &calls_.mem_get_allocation_properties);
  resolve("cuMemAddressReserve", &calls_.mem_address_reserve);
  resolve("cuMemAddressFree", &calls_.mem_address_free);
  resolve("cuMemMap", &calls_.mem_map);
  resolve("cuMemUnmap", &calls_.mem_unmap);
  resolve("cuMemSetAccess", &calls_.mem_set_access);
  return status;
}

absl::Status Driver::Initialize(const std::string& name) {
  A8A_RETURN_IF_ERROR(
      ToStatus(calls_.driver_get_version(&version_), absl::StrCat("asking ", name, " for its version")));
  if (version_ < kDriverVersionMin) return TooOld(name, absl::StrCat("speaks CUDA ", VersionText(version_)));
  const Result result = calls_.init(0);
  if (result == kResultNoDevice) {
    return absl::UnimplementedError(absl::StrCat(name, " (CUDA ", VersionText(version_),
                                                 ") sees no device: there is none, CUDA_VISIBLE_DEVICES hides it, or "
                                                 "its MIG mode is on and it has no instance"));
  }
  return ToStatus(result, absl::StrCat("initializing ", name, " (CUDA ", VersionText(version_), ")"));
}

absl::Status Driver::ToStatus(Result result, absl::string_view doing) const {
  if (result == kSuccess) return absl::OkStatus();
  const char* name = nullptr;
  if (calls_.get_error_name(result, &name) != kSuccess || name == nullptr) name = "unknown to this driver";
  return ResultToStatus(result, name, doing);
}

}  // namespace a8a::cuda
