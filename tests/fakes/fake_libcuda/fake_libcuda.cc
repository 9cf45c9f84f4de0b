#include "tests/fakes/fake_libcuda/fake_libcuda.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

#include "kernels/base/cuda_abi.h"
#include "tests/fakes/fake_libcuda/script.h"

namespace a8a::cuda {
namespace {

constexpr Result kInvalidValue = kResultInvalidValue;
constexpr Result kOperatingSystem = 304;
constexpr Result kUnknown = 999;
constexpr std::size_t kGranularity = std::size_t{2} << 20;
// A memfd's name carries the device from the process that allocates to those that import.
constexpr char kMemoryName[] = "a8a-fake-cuda-";

struct Memory {
  int fd = -1;
  std::size_t size = 0;
  int device = -1;  // -1: hidden from this process
};

struct State {
  std::mutex mutex;
  bool initialized = false;
  FakeScript script;
  std::map<std::string, long> calls;
  std::map<MemoryHandle, Memory> memories;
  std::map<DeviceAddress, std::size_t> reservations;
  std::map<DeviceAddress, std::size_t> mappings;
  std::map<DeviceHandle, long> contexts;
  MemoryHandle next_handle = 1;
};

State& state() {
  static auto* const state = new State();
  return *state;
}

// Held for the length of a call.
class Call {
 public:
  explicit Call(const char* name, bool before_init = false) : lock_(state().mutex) {
    ++state().calls[name];
    const FakeScript script = ReadScript();
    if (!script.trace_path.empty()) std::ofstream(script.trace_path, std::ios::app) << name << "\n";
    const auto found = script.failures.find(name);
    if (found != script.failures.end()) {
      result_ = found->second;
    } else if (!state().initialized && !before_init) {
      result_ = kResultNotInitialized;
    }
  }
  [[nodiscard]] bool failed() const { return result_ != kSuccess; }
  [[nodiscard]] Result result() const { return result_; }

 private:
  const std::lock_guard<std::mutex> lock_;
  Result result_ = kSuccess;
};

const FakeDevice* Device(DeviceHandle device) {
  const std::vector<FakeDevice>& devices = state().script.devices;
  if (device < 0 || static_cast<std::size_t>(device) >= devices.size()) return nullptr;
  return &devices[static_cast<std::size_t>(device)];
}

MemoryHandle Keep(Memory memory) {
  const MemoryHandle handle = state().next_handle++;
  state().memories[handle] = memory;
  return handle;
}

// Of a descriptor that cuMemExportToShareableHandle made; false for any other.
bool Identify(int fd, Memory* memory) {
  std::array<char, 256> text = {};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (::readlink(link.c_str(), text.data(), text.size() - 1) < 0) return false;
  const char* const name = std::strstr(text.data(), kMemoryName);
  struct stat info = {};
  if (name == nullptr || ::fstat(fd, &info) != 0) return false;
  const std::string hex(name + std::strlen(kMemoryName), 32);
  memory->size = static_cast<std::size_t>(info.st_size);
  for (DeviceHandle device = 0; Device(device) != nullptr; ++device) {
    if (UuidToHex(Device(device)->uuid) == hex) memory->device = device;
  }
  return true;
}

void* Pointer(DeviceAddress address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

Result Remap(DeviceAddress address, std::size_t size, int fd) {
  const int flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED);
  return ::mmap(Pointer(address), size, PROT_NONE, flags, fd, 0) == MAP_FAILED ? kUnknown : kSuccess;
}

Result GetUuid(const char* name, Uuid FakeDevice::*field, Uuid* uuid, DeviceHandle device) {
  const Call call(name);
  if (call.failed()) return call.result();
  if (Device(device) == nullptr) return kResultInvalidDevice;
  *uuid = Device(device)->*field;
  return kSuccess;
}

Result Attribute(const FakeDevice& device, DeviceAttribute attribute, int* value) {
  switch (attribute) {
    case DeviceAttribute::kPciBusId:
      *value = device.bus;
      return kSuccess;
    case DeviceAttribute::kPciDeviceId:
    case DeviceAttribute::kPciDomainId:
      *value = 0;
      return kSuccess;
    case DeviceAttribute::kVirtualMemoryManagementSupported:
      *value = device.has_virtual_memory ? 1 : 0;
      return kSuccess;
    case DeviceAttribute::kPosixFileDescriptorSupported:
      *value = device.has_descriptors ? 1 : 0;
      return kSuccess;
  }
  return kInvalidValue;
}

}  // namespace

extern "C" {

long FakeCudaCount(const char* what) {
  State& s = state();
  const std::lock_guard<std::mutex> lock(s.mutex);
  const std::string name = what;
  if (name == "live handles") return static_cast<long>(s.memories.size());
  if (name == "live reservations") return static_cast<long>(s.reservations.size());
  if (name == "live mappings") return static_cast<long>(s.mappings.size());
  if (name != "live contexts") return s.calls[name];
  long contexts = 0;
  for (const auto& [device, count] : s.contexts) contexts += count;
  return contexts;
}

Result cuInit(unsigned) {
  const Call call("cuInit", /*before_init=*/true);
  if (call.failed()) return call.result();
  state().script = ReadScript();
  state().initialized = !state().script.devices.empty();
  return state().initialized ? kSuccess : kResultNoDevice;
}

Result cuDriverGetVersion(int* version) {
  const Call call("cuDriverGetVersion", /*before_init=*/true);
  *version = ReadScript().version;
  return call.result();
}

Result cuGetErrorName(Result result, const char** name) {
  static const std::map<Result, const char*> names = {{1, "CUDA_ERROR_INVALID_VALUE"},
                                                      {2, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                      {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
                                                      {304, "CUDA_ERROR_OPERATING_SYSTEM"},
                                                      {999, "CUDA_ERROR_UNKNOWN"}};
  const auto found = names.find(result);
  if (found == names.end()) return kInvalidValue;
  *name = found->second;
  return kSuccess;
}

Result cuDeviceGetCount(int* count) {
  const Call call("cuDeviceGetCount");
  *count = static_cast<int>(state().script.devices.size());
  return call.result();
}

Result cuDeviceGetUuid(Uuid* uuid, DeviceHandle device) {
  return GetUuid("cuDeviceGetUuid", &FakeDevice::gpu_uuid, uuid, device);
}

Result cuDeviceGetUuid_v2(Uuid* uuid, DeviceHandle device) {
  return GetUuid("cuDeviceGetUuid_v2", &FakeDevice::uuid, uuid, device);
}

Result cuDeviceGetName(char* name, int size, DeviceHandle device) {
  const Call call("cuDeviceGetName");
  if (call.failed()) return call.result();
  if (Device(device) == nullptr) return kResultInvalidDevice;
  std::strncpy(name, "Fake GPU", static_cast<std::size_t>(size));
  return kSuccess;
}

Result cuDeviceGetAttribute(int* value, DeviceAttribute attribute, DeviceHandle device) {
  const Call call("cuDeviceGetAttribute");
  if (call.failed()) return call.result();
  if (Device(device) == nullptr) return kResultInvalidDevice;
  return Attribute(*Device(device), attribute, value);
}

Result cuDeviceTotalMem_v2(std::size_t* bytes, DeviceHandle device) {
  const Call call("cuDeviceTotalMem_v2");
  if (call.failed()) return call.result();
  if (Device(device) == nullptr) return kResultInvalidDevice;
  *bytes = Device(device)->memory_bytes;
  return kSuccess;
}

Result cuDeviceCanAccessPeer(int* can_access, DeviceHandle, DeviceHandle) {
  const Call call("cuDeviceCanAccessPeer");
  *can_access = state().script.peer_access ? 1 : 0;
  return call.result();
}

Result cuDeviceGetP2PAttribute(int* value, P2pAttribute, DeviceHandle, DeviceHandle) {
  const Call call("cuDeviceGetP2PAttribute");
  *value = state().script.peer_atomics ? 1 : 0;
  return call.result();
}

Result cuDevicePrimaryCtxRetain(Context* context, DeviceHandle device) {
  const Call call("cuDevicePrimaryCtxRetain");
  if (call.failed()) return call.result();
  if (Device(device) == nullptr) return kResultInvalidDevice;
  *context = reinterpret_cast<Context>(&state().contexts[device]);
  ++state().contexts[device];
  return kSuccess;
}

Result cuDevicePrimaryCtxRelease_v2(DeviceHandle device) {
  const Call call("cuDevicePrimaryCtxRelease_v2");
  --state().contexts[device];
  return call.result();
}

Result cuMemGetAllocationGranularity(std::size_t* bytes, const AllocationProperties*, Granularity) {
  const Call call("cuMemGetAllocationGranularity");
  *bytes = kGranularity;
  return call.result();
}

Result cuMemCreate(MemoryHandle* handle, std::size_t size, const AllocationProperties* properties, unsigned long long) {
  const Call call("cuMemCreate");
  if (call.failed()) return call.result();
  const FakeDevice* const device = Device(properties->location.id);
  if (device == nullptr) return kResultInvalidDevice;
  if (size == 0 || size % kGranularity != 0) return kInvalidValue;
  if (size > device->memory_bytes) return kResultOutOfMemory;
  const std::string name = kMemoryName + UuidToHex(device->uuid);
  const int fd = ::memfd_create(name.c_str(), MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(size)) != 0) return kOperatingSystem;
  *handle = Keep({fd, size, properties->location.id});
  return kSuccess;
}

Result cuMemRelease(MemoryHandle handle) {
  const Call call("cuMemRelease");
  const auto found = state().memories.find(handle);
  if (found == state().memories.end()) return kInvalidValue;
  ::close(found->second.fd);
  state().memories.erase(found);
  return call.result();
}

// Not closed on exec, so that a test sees whether the caller takes care of it.
Result cuMemExportToShareableHandle(void* shareable, MemoryHandle handle, HandleType, unsigned long long) {
  const Call call("cuMemExportToShareableHandle");
  if (call.failed()) return call.result();
  const auto found = state().memories.find(handle);
  if (found == state().memories.end()) return kInvalidValue;
  const int fd = ::fcntl(found->second.fd, F_DUPFD, 0);
  if (fd < 0) return kOperatingSystem;
  std::memcpy(shareable, &fd, sizeof fd);
  return kSuccess;
}

Result cuMemImportFromShareableHandle(MemoryHandle* handle, void* shareable, HandleType) {
  const Call call("cuMemImportFromShareableHandle");
  if (call.failed()) return call.result();
  Memory memory;
  const int fd = static_cast<int>(reinterpret_cast<std::intptr_t>(shareable));
  if (!Identify(fd, &memory)) return kUnknown;
  memory.fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  *handle = Keep(memory);
  return kSuccess;
}

Result cuMemGetAllocationPropertiesFromHandle(AllocationProperties* properties, MemoryHandle handle) {
  const Call call("cuMemGetAllocationPropertiesFromHandle");
  if (call.failed()) return call.result();
  const auto found = state().memories.find(handle);
  if (found == state().memories.end()) return kInvalidValue;
  *properties = {};
  properties->type = AllocationType::kPinned;
  properties->location = {LocationType::kDevice, found->second.device};
  return kSuccess;
}

Result cuMemAddressReserve(DeviceAddress* address, std::size_t size, std::size_t, DeviceAddress, unsigned long long) {
  const Call call("cuMemAddressReserve");
  if (call.failed()) return call.result();
  void* const base = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return kResultOutOfMemory;
  *address = reinterpret_cast<std::uintptr_t>(base);
  state().reservations[*address] = size;
  return kSuccess;
}

Result cuMemAddressFree(DeviceAddress address, std::size_t size) {
  const Call call("cuMemAddressFree");
  if (state().mappings.contains(address) || state().reservations.erase(address) == 0) return kInvalidValue;
  ::munmap(Pointer(address), size);
  return call.result();
}

Result cuMemMap(DeviceAddress address, std::size_t size, std::size_t, MemoryHandle handle, unsigned long long) {
  const Call call("cuMemMap");
  if (call.failed()) return call.result();
  const auto found = state().memories.find(handle);
  if (found == state().memories.end() || !state().reservations.contains(address)) return kInvalidValue;
  if (size != found->second.size) return kResultNotSupported;
  state().mappings[address] = size;
  return Remap(address, size, found->second.fd);
}

Result cuMemUnmap(DeviceAddress address, std::size_t size) {
  const Call call("cuMemUnmap");
  if (state().mappings.erase(address) == 0) return kInvalidValue;
  return Remap(address, size, /*fd=*/-1);
}

Result cuMemSetAccess(DeviceAddress address, std::size_t size, const AccessDescription* description, std::size_t) {
  const Call call("cuMemSetAccess");
  if (call.failed()) return call.result();
  if (Device(description->location.id) == nullptr) return kResultInvalidDevice;
  if (!state().mappings.contains(address)) return kInvalidValue;
  return ::mprotect(Pointer(address), size, PROT_READ | PROT_WRITE) == 0 ? kSuccess : kUnknown;
}

}  // extern "C"
}  // namespace a8a::cuda
