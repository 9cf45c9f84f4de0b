#include "tests/gpu/gpu_usage.h"

#include <dlfcn.h>

#include <array>

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
  [[nodiscard]] void* device() const { return device_; }

 private:
  Nvml() {
    library_ = ::dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (library_ == nullptr) {
      missing_ = absl::StrCat("no GPU to test on: ", ::dlerror());
    } else if (Call("nvmlInit_v2") != 0 || Call("nvmlDeviceGetHandleByIndex_v2", 0u, &device_) != 0) {
      missing_ = "no GPU to test on: NVML sees none";
    }
  }

  void* library_ = nullptr;
  void* device_ = nullptr;
  std::string missing_;
};

}  // namespace

std::string GpuMissing() { return Nvml::Get().missing(); }

std::int64_t GpuUsedBytes() {
  MemoryInfo info = {.version = kMemoryInfoVersion, .total = 0, .reserved = 0, .free = 0, .used = 0};
  A8A_CHECK(Nvml::Get().Call("nvmlDeviceGetMemoryInfo_v2", Nvml::Get().device(), &info) == 0, "NVML memory info");
  return static_cast<std::int64_t>(info.used);
}

std::string GpuDescription() {
  constexpr unsigned kTextBytes = 96;
  std::array<char, kTextBytes> name = {};
  std::array<char, kTextBytes> driver = {};
  A8A_CHECK(Nvml::Get().Call("nvmlDeviceGetName", Nvml::Get().device(), name.data(), kTextBytes) == 0, "NVML name");
  A8A_CHECK(Nvml::Get().Call("nvmlSystemGetDriverVersion", driver.data(), kTextBytes) == 0, "NVML driver version");
  return absl::StrCat(name.data(), ", driver ", driver.data());
}

}  // namespace a8a
