#include "kernels/base/cuda_device.h"

#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kernels/base/status_macros.h"

namespace a8a::cuda {
namespace {

// "GPU-01234567-89ab-cdef-0123-456789abcdef", as nvidia-smi prints it.
std::string UuidText(const Uuid& uuid, absl::string_view prefix) {
  const std::string hex =
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(uuid.bytes.data()), uuid.bytes.size()));
  const absl::string_view digits = hex;
  return absl::StrCat(prefix, "-", digits.substr(0, 8), "-", digits.substr(8, 4), "-", digits.substr(12, 4), "-",
                      digits.substr(16, 4), "-", digits.substr(20));
}

// One device's answers; remembers the first error.
class Query {
 public:
  Query(const Driver& driver, DeviceHandle device) : driver_(driver), device_(device) {}

  [[nodiscard]] int Attribute(DeviceAttribute attribute) {
    int value = 0;
    Note(driver_.calls().device_get_attribute(&value, attribute, device_));
    return value;
  }
  [[nodiscard]] Uuid GetUuid(decltype(DriverCalls::device_get_uuid) call) {
    Uuid uuid = {};
    Note(call(&uuid, device_));
    return uuid;
  }
  [[nodiscard]] std::string Model() {
    std::array<char, 256> name = {};
    Note(driver_.calls().device_get_name(name.data(), static_cast<int>(name.size() - 1), device_));
    return name.data();
  }
  [[nodiscard]] std::int64_t MemoryBytes() {
    std::size_t bytes = 0;
    Note(driver_.calls().device_total_mem(&bytes, device_));
    return static_cast<std::int64_t>(bytes);
  }
  [[nodiscard]] const absl::Status& status() const { return status_; }

 private:
  void Note(Result result) {
    status_.Update(driver_.ToStatus(result, absl::StrCat("asking CUDA device ", device_, " what it is")));
  }

  const Driver& driver_;
  const DeviceHandle device_;
  absl::Status status_;
};

absl::StatusOr<DeviceProperties> ReadProperties(const Driver& driver, DeviceHandle handle) {
  Query query(driver, handle);
  const Uuid uuid = query.GetUuid(driver.calls().device_get_uuid);
  const Uuid gpu_uuid = query.GetUuid(driver.calls().device_get_gpu_uuid);
  DeviceProperties device;
  device.handle = handle;
  device.is_mig_instance = !(uuid == gpu_uuid);
  device.uuid = UuidText(uuid, device.is_mig_instance ? "MIG" : "GPU");
  device.model = query.Model();
  device.pci_domain = query.Attribute(DeviceAttribute::kPciDomainId);
  device.pci_bus = query.Attribute(DeviceAttribute::kPciBusId);
  device.pci_device = query.Attribute(DeviceAttribute::kPciDeviceId);
  device.memory_bytes = query.MemoryBytes();
  device.has_virtual_memory = query.Attribute(DeviceAttribute::kVirtualMemoryManagementSupported) != 0;
  device.has_descriptors = query.Attribute(DeviceAttribute::kPosixFileDescriptorSupported) != 0;
  A8A_RETURN_IF_ERROR(query.status());
  return device;
}

}  // namespace

absl::StatusOr<std::vector<DeviceProperties>> VisibleDevices(const Driver& driver) {
  int count = 0;
  A8A_RETURN_IF_ERROR(driver.ToStatus(driver.calls().device_get_count(&count), "counting CUDA devices"));
  std::vector<DeviceProperties> devices;
  for (DeviceHandle handle = 0; handle < count; ++handle) {
    A8A_ASSIGN_OR_RETURN(DeviceProperties device, ReadProperties(driver, handle));
    devices.push_back(std::move(device));
  }
  return devices;
}

absl::Status CheckShareable(const DeviceProperties& device) {
  absl::string_view reason;
  if (device.is_mig_instance) {
    reason = "is a MIG instance, whose memory other instances cannot reach; turn MIG mode off or use another GPU";
  } else if (!device.has_virtual_memory) {
    reason = "has no virtual memory management (CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED is 0)";
  } else if (!device.has_descriptors) {
    reason = "cannot share memory by descriptor (CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED is 0)";
  } else {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(device.model, " ", device.uuid, " ", reason));
}

AllocationProperties ShareableMemory(DeviceHandle device) {
  AllocationProperties properties = {};
  properties.type = AllocationType::kPinned;
  properties.handle_types = HandleType::kPosixFileDescriptor;
  properties.location = {LocationType::kDevice, device};
  return properties;
}

}  // namespace a8a::cuda
