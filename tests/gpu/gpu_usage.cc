#include "tests/gpu/gpu_usage.h"

#include <dlfcn.h>

#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace a8a {
namespace {

// nvmlMemory_v2_t; the version word is its size with the number 2 above it. [NVML API reference]
struct MemoryInfo {
  unsigned version;
  unsigned long long total;
  unsigned long long reserved;
  unsigned long long free;
  unsigned long long used;
};
constexpr unsigned kMemoryInfoVersion = sizeof(MemoryInfo) | 2u << 24;

class Nvml {
 public:
  static Nvml& Get() {
    static auto* const nvml = new Nvml();
    return *nvml;
  }

  [[nodiscard]] const std::string& missing() const { return missing_; }

  template <typename... Args>
  [[nodiscard]] int Call(const char* symbol, Args... args) const {
    const auto call = reinterpret_cast<int (*)(Args...)>(::dlsym(library_, symbol));
    A8A_CHECK(call != nullptr, symbol);
    return call(args...);
  }
  [[nodiscard]] const std::vector<void*>& devices() const { return devices_; }

 private:
  Nvml() {
    library_ = ::dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (library_ == nullptr) {
      missing_ = absl::StrCat("no GPU to test on: ", ::dlerror());
      return;
    }
    unsigned count = 0;
    if (Call("nvmlInit_v2") == 0 && Call("nvmlDeviceGetCount_v2", &count) == 0) devices_.resize(count);
    for (unsigned i = 0; i < devices_.size(); ++i) {
      A8A_CHECK(Call("nvmlDeviceGetHandleByIndex_v2", i, &devices_[i]) == 0, "NVML device");
    }
    if (devices_.empty()) missing_ = "no GPU to test on: NVML sees none";
  }

  void* library_ = nullptr;
  std::vector<void*> devices_;
  std::string missing_;
};

}  // namespace

std::string GpuMissing() { return Nvml::Get().missing(); }

std::int64_t GpuUsedBytes() {
  std::int64_t bytes = 0;
  for (void* const device : Nvml::Get().devices()) {
    MemoryInfo info = {.version = kMemoryInfoVersion, .total = 0, .reserved = 0, .free = 0, .used = 0};
    A8A_CHECK(Nvml::Get().Call("nvmlDeviceGetMemoryInfo_v2", device, &info) == 0, "NVML memory info");
    bytes += static_cast<std::int64_t>(info.used);
  }
  return bytes;
}

std::string GpuDescription() {
  constexpr unsigned kTextBytes = 96;
  std::array<char, kTextBytes> name = {};
  std::array<char, kTextBytes> driver = {};
  A8A_CHECK(Nvml::Get().Call("nvmlDeviceGetName", Nvml::Get().devices()[0], name.data(), kTextBytes) == 0, "NVML name");
  A8A_CHECK(Nvml::Get().Call("nvmlSystemGetDriverVersion", driver.data(), kTextBytes) == 0, "NVML driver version");
  return absl::StrCat(name.data(), ", driver ", driver.data());
}

}  // namespace a8a
