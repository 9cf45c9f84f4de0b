#include "client/tools/ctl/doctor_gpu.h"

#include <dlfcn.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/base/cuda_driver.h"

namespace a8a::ctl {
namespace {

// NVIDIA Management Library, as far as needed; the ABI is that of nvml.h since version 5.
constexpr char kNvmlLibrary[] = "libnvidia-ml.so.1";
using NvmlDevice = void*;

// Whether each GPU keeps its driver state while nobody uses it, by NVML's index; an error where NVML does not tell.
absl::StatusOr<std::vector<bool>> PersistenceModes() {
  void* const library = ::dlopen(kNvmlLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return absl::UnimplementedError(absl::StrCat(kNvmlLibrary, " is not there"));
  const auto resolve = [library](const char* name, auto* call) {
    *call = reinterpret_cast<std::remove_pointer_t<decltype(call)>>(::dlsym(library, name));
    return *call != nullptr;
  };
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*get_count)(unsigned*) = nullptr;
  int (*get_device)(unsigned, NvmlDevice*) = nullptr;
  int (*get_mode)(NvmlDevice, int*) = nullptr;
  if (!resolve("nvmlInit_v2", &init) || !resolve("nvmlShutdown", &shutdown) ||
      !resolve("nvmlDeviceGetCount_v2", &get_count) || !resolve("nvmlDeviceGetHandleByIndex_v2", &get_device) ||
      !resolve("nvmlDeviceGetPersistenceMode", &get_mode)) {
    return absl::UnimplementedError(absl::StrCat(kNvmlLibrary, " lacks a call"));
  }
  if (const int result = init(); result != 0) return absl::UnavailableError(absl::StrCat("nvmlInit returns ", result));
  std::vector<bool> modes;
  unsigned count = 0;
  int result = get_count(&count);
  for (unsigned i = 0; i < count && result == 0; ++i) {
    NvmlDevice device = nullptr;
    int mode = 0;
    result = get_device(i, &device);
    if (result == 0) result = get_mode(device, &mode);
    modes.push_back(mode != 0);
  }
  shutdown();
  if (result != 0) return absl::UnavailableError(absl::StrCat("NVML returns ", result));
  return modes;
}

std::string Version(int version) { return absl::StrCat(version / 1000, ".", version % 1000 / 10); }

// Without GPUs of the daemon a missing driver is no fault.
Finding NoDriver(const absl::Status& status, int daemon_gpu_count) {
  if (absl::IsUnimplemented(status) && daemon_gpu_count <= 0) {
    return {"driver", Verdict::kSkipped, absl::StrCat("no GPU for this process: ", status.message())};
  }
  return {"driver", Verdict::kFailed, std::string(status.message()),
          "install the NVIDIA driver (nvidia-smi must work for this user), or run the daemon with backend = \"host\""};
}

Finding DriverFinding(const cuda::Driver& driver, int gpu_count, int daemon_gpu_count) {
  const std::string text = absl::StrCat("CUDA ", Version(driver.version()), ", GPUs for this process: ", gpu_count);
  if (gpu_count > 0 && daemon_gpu_count == 0) {
    return {"driver", Verdict::kWarning, absl::StrCat(text, ", but the daemon leases memory of none"),
            "set backend = \"cuda\" and restart the daemon: its log then says why (device_refused)"};
  }
  return {"driver", Verdict::kOk, text};
}

Finding PeerAccess(const cuda::Driver& driver, int gpu_count) {
  if (gpu_count < 2)
    return {"peer_access", Verdict::kSkipped, absl::StrCat("GPUs for this process: ", gpu_count, "; no pairs")};
  std::vector<std::string> without;
  for (int a = 0; a < gpu_count; ++a) {
    for (int b = 0; b < gpu_count; ++b) {
      int can_access = 0;
      if (a == b || (driver.calls().device_can_access_peer(&can_access, a, b) == 0 && can_access != 0)) continue;
      without.push_back(absl::StrCat(a, "->", b));
    }
  }
  if (without.empty()) return {"peer_access", Verdict::kOk, "each GPU reaches each other"};
  return {"peer_access", Verdict::kFailed, absl::StrCat("none for ", absl::StrJoin(without, ", ")),
          "see nvidia-smi topo -p2p r; on bare metal switch ACS off in the BIOS or the IOMMU off (iommu=off); in a "
          "virtual machine pass the GPUs and their NVSwitches through together"};
}

Finding PersistenceMode() {
  const absl::StatusOr<std::vector<bool>> modes = PersistenceModes();
  if (!modes.ok()) return {"persistence_mode", Verdict::kSkipped, std::string(modes.status().message())};
  std::vector<std::string> off;
  for (std::size_t i = 0; i < modes->size(); ++i) {
    if (!(*modes)[i]) off.push_back(absl::StrCat(i));
  }
  if (off.empty()) return {"persistence_mode", Verdict::kOk, "on for all GPUs"};
  return {"persistence_mode", Verdict::kWarning,
          absl::StrCat("off for GPU ", absl::StrJoin(off, ", "), ": the first use of an idle GPU takes seconds"),
          "systemctl enable --now nvidia-persistenced, or nvidia-smi -pm 1"};
}

}  // namespace

std::vector<Finding> ExamineGpus(int daemon_gpu_count) {
  const auto driver = cuda::Driver::Load();
  if (!driver.ok()) return {NoDriver(driver.status(), daemon_gpu_count)};
  int gpu_count = 0;
  const cuda::Result result = (*driver)->calls().device_get_count(&gpu_count);
  if (result != 0) return {NoDriver((*driver)->ToStatus(result, "count devices"), daemon_gpu_count)};
  return {DriverFinding(**driver, gpu_count, daemon_gpu_count), PeerAccess(**driver, gpu_count), PersistenceMode()};
}

}  // namespace a8a::ctl
