#include "daemon/memory/cuda_memory.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/failpoint.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {
namespace {

class CudaAllocation final : public Allocation {
 public:
  CudaAllocation(UniqueFd fd, std::int64_t size_bytes, std::shared_ptr<std::atomic<std::int64_t>> live_bytes)
      : fd_(std::move(fd)), size_bytes_(size_bytes), live_bytes_(std::move(live_bytes)) {
    live_bytes_->fetch_add(size_bytes_, std::memory_order_relaxed);
  }
  ~CudaAllocation() override { live_bytes_->fetch_sub(size_bytes_, std::memory_order_relaxed); }

  [[nodiscard]] int fd() const override { return fd_.get(); }
  [[nodiscard]] std::int64_t size_bytes() const override { return size_bytes_; }
  // The driver's descriptors are all of one device file.
  [[nodiscard]] FileId file_id() const override { return {}; }

 private:
  const UniqueFd fd_;
  const std::int64_t size_bytes_;
  const std::shared_ptr<std::atomic<std::int64_t>> live_bytes_;
};

// Releases a driver's handle of memory; the memory itself lives on in its descriptors.
class ScopedMemoryHandle {
 public:
  ScopedMemoryHandle(const cuda::Driver& driver, cuda::MemoryHandle handle) : driver_(driver), handle_(handle) {}
  ~ScopedMemoryHandle() { static_cast<void>(driver_.calls().mem_release(handle_)); }
  ScopedMemoryHandle(const ScopedMemoryHandle&) = delete;
  ScopedMemoryHandle& operator=(const ScopedMemoryHandle&) = delete;

 private:
  const cuda::Driver& driver_;
  const cuda::MemoryHandle handle_;
};

// The driver says no more than "operating system call failed" when a process has no descriptor left.
bool OutOfDescriptors() {
  const UniqueFd probe(A8A_FAILPOINT("cuda_memory.dup_to_try", ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)));
  return !probe.valid() && (errno == EMFILE || errno == ENFILE);
}

absl::StatusOr<UniqueFd> Export(const cuda::Driver& driver, cuda::MemoryHandle handle, absl::string_view doing) {
  int fd = -1;
  const cuda::Result result =
      driver.calls().mem_export_to_shareable_handle(&fd, handle, cuda::HandleType::kPosixFileDescriptor, 0);
  if (result != cuda::kSuccess && OutOfDescriptors()) {
    return absl::ResourceExhaustedError(absl::StrCat(doing, ": the daemon has no file descriptor left"));
  }
  A8A_RETURN_IF_ERROR(driver.ToStatus(result, doing));
  UniqueFd owned(fd);
  // Drivers of today set it themselves, but none promises to.
  if (A8A_FAILPOINT("cuda_memory.set_cloexec", ::fcntl(owned.get(), F_SETFD, FD_CLOEXEC)) != 0) {
    return absl::InternalError(absl::StrCat(doing, ": the driver's descriptor ", fd, " is none"));
  }
  return owned;
}

std::string NameOf(std::size_t index) { return absl::StrCat("cuda:", index); }

std::vector<cuda::DeviceProperties> InPciOrder(std::vector<cuda::DeviceProperties> devices) {
  std::sort(devices.begin(), devices.end(), [](const cuda::DeviceProperties& a, const cuda::DeviceProperties& b) {
    // The UUID tells MIG instances of one GPU apart.
    return std::tie(a.pci_domain, a.pci_bus, a.pci_device, a.uuid) <
           std::tie(b.pci_domain, b.pci_bus, b.pci_device, b.uuid);
  });
  return devices;
}

absl::Status CheckOptions(const CudaMemoryOptions& options, const std::vector<cuda::DeviceProperties>& devices) {
  std::set<std::string> known;
  for (std::size_t i = 0; i < devices.size(); ++i) known.insert({NameOf(i), devices[i].uuid});
  for (const auto& [device, limit_bytes] : options.pool_limit_bytes_by_device) {
    if (known.contains(device)) continue;
    return absl::InvalidArgumentError(absl::StrCat("pool limit for device \"", device,
                                                   "\", which is not there; there are ", absl::StrJoin(known, ", ")));
  }
  return absl::OkStatus();
}

std::int64_t LimitOf(const CudaMemoryOptions& options, const std::string& name, const std::string& uuid) {
  for (const std::string& key : {uuid, name}) {
    const auto found = options.pool_limit_bytes_by_device.find(key);
    if (found != options.pool_limit_bytes_by_device.end()) return found->second;
  }
  return options.pool_limit_bytes;
}

}  // namespace

CudaMemoryProvider::CudaMemoryProvider(std::shared_ptr<const cuda::Driver> driver,
                                       const cuda::DeviceProperties& properties, DeviceInfo device)
    : driver_(std::move(driver)),
      handle_(properties.handle),
      memory_bytes_(properties.memory_bytes),
      device_(std::move(device)),
      live_bytes_(std::make_shared<std::atomic<std::int64_t>>(0)) {}

absl::StatusOr<std::unique_ptr<CudaMemoryProvider>> CudaMemoryProvider::Create(
    std::shared_ptr<const cuda::Driver> driver, const cuda::DeviceProperties& properties, const std::string& name,
    std::int64_t pool_limit_bytes) {
  A8A_RETURN_IF_ERROR(cuda::CheckShareable(properties));
  const cuda::AllocationProperties memory = cuda::ShareableMemory(properties.handle);
  std::size_t granularity = 0;
  A8A_RETURN_IF_ERROR(driver->ToStatus(
      driver->calls().mem_get_allocation_granularity(&granularity, &memory, cuda::Granularity::kMinimum),
      absl::StrCat(name, " (", properties.uuid, "): asking for the granularity of its memory")));
  DeviceInfo device;
  device.name = name;
  device.kind = DeviceKind::kCuda;
  device.uuid = properties.uuid;
  device.granularity_bytes = static_cast<std::int64_t>(granularity);
  device.pool_limit_bytes = pool_limit_bytes != 0 ? pool_limit_bytes : properties.memory_bytes / 2;
  return std::unique_ptr<CudaMemoryProvider>(new CudaMemoryProvider(std::move(driver), properties, std::move(device)));
}

std::string CudaMemoryProvider::Doing(absl::string_view what) const {
  return absl::StrCat(device_.name, " (", device_.uuid, "): ", what);
}

absl::StatusOr<std::unique_ptr<Allocation>> CudaMemoryProvider::Allocate(std::int64_t size_bytes,
                                                                         absl::string_view name) {
  const cuda::AllocationProperties memory = cuda::ShareableMemory(handle_);
  cuda::MemoryHandle handle = 0;
  const cuda::Result result = driver_->calls().mem_create(&handle, static_cast<std::size_t>(size_bytes), &memory, 0);
  if (result == cuda::kResultOutOfMemory) return OutOfMemory(size_bytes);
  A8A_RETURN_IF_ERROR(driver_->ToStatus(result, Doing(absl::StrCat("allocating ", size_bytes, " bytes for ", name))));
  const ScopedMemoryHandle scoped(*driver_, handle);
  A8A_ASSIGN_OR_RETURN(UniqueFd fd,
                       Export(*driver_, handle, Doing(absl::StrCat("sharing ", size_bytes, " bytes of ", name))));
  return std::make_unique<CudaAllocation>(std::move(fd), size_bytes, live_bytes_);
}

// The driver tells of a descriptor which device's memory it is, and neither its size nor whether it is that of an
// earlier one: whoever hands back another allocation of its own cheats its own group alone.
absl::StatusOr<std::unique_ptr<Allocation>> CudaMemoryProvider::Adopt(UniqueFd* fd, std::int64_t size_bytes, FileId) {
  if (const absl::Status status = CheckImport(fd->get(), "handed back"); !status.ok()) {
    return absl::InvalidArgumentError(status.message());
  }
  return std::make_unique<CudaAllocation>(std::move(*fd), size_bytes, live_bytes_);
}

absl::Status CudaMemoryProvider::OutOfMemory(std::int64_t size_bytes) const {
  const std::int64_t live_bytes = live_bytes_->load(std::memory_order_relaxed);
  return absl::ResourceExhaustedError(Doing(absl::StrCat(
      "out of GPU memory: asked for ", size_bytes, " bytes; leased are ", live_bytes, " of ", memory_bytes_,
      ", at most ", memory_bytes_ - live_bytes, " are left, less what other processes hold there")));
}

absl::Status CudaMemoryProvider::Probe() {
  A8A_ASSIGN_OR_RETURN(const std::unique_ptr<Allocation> allocation, Allocate(device_.granularity_bytes, "probe"));
  // As clients do: through a duplicate.
  const UniqueFd shared(A8A_FAILPOINT("cuda_memory.dup", ::fcntl(allocation->fd(), F_DUPFD_CLOEXEC, 0)));
  if (!shared.valid()) return absl::ResourceExhaustedError(Doing("probe: the daemon has no file descriptor left"));
  return CheckImport(shared.get(), "probe");
}

absl::Status CudaMemoryProvider::CheckImport(int fd, absl::string_view what) const {
  cuda::MemoryHandle handle = 0;
  void* const shareable = reinterpret_cast<void*>(static_cast<std::intptr_t>(fd));
  A8A_RETURN_IF_ERROR(driver_->ToStatus(
      driver_->calls().mem_import_from_shareable_handle(&handle, shareable, cuda::HandleType::kPosixFileDescriptor),
      Doing(absl::StrCat(what, ": importing its own memory"))));
  const ScopedMemoryHandle scoped(*driver_, handle);
  cuda::AllocationProperties memory = {};
  A8A_RETURN_IF_ERROR(driver_->ToStatus(driver_->calls().mem_get_allocation_properties(&memory, handle),
                                        Doing(absl::StrCat(what, ": asking what was imported"))));
  if (memory.location.type == cuda::LocationType::kDevice && memory.location.id == handle_) return absl::OkStatus();
  return absl::InternalError(Doing(absl::StrCat(what, ": its own memory came back as memory of device ",
                                                memory.location.id, ", expected ", handle_)));
}

absl::StatusOr<CudaProviders> MakeCudaProviders(const CudaMemoryOptions& options, const std::string& library) {
  A8A_ASSIGN_OR_RETURN(const std::shared_ptr<const cuda::Driver> driver, cuda::Driver::Load(library));
  A8A_ASSIGN_OR_RETURN(std::vector<cuda::DeviceProperties> visible, cuda::VisibleDevices(*driver));
  const std::vector<cuda::DeviceProperties> devices = InPciOrder(std::move(visible));
  A8A_RETURN_IF_ERROR(CheckOptions(options, devices));
  CudaProviders made;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const std::string name = NameOf(i);
    auto provider = CudaMemoryProvider::Create(driver, devices[i], name, LimitOf(options, name, devices[i].uuid));
    if (provider.ok()) {
      made.providers.push_back(*std::move(provider));
    } else {
      const absl::Status& reason = provider.status();
      made.refused.push_back(absl::Status(reason.code(), absl::StrCat("device ", name, ": ", reason.message())));
    }
  }
  if (!made.providers.empty()) return made;
  if (made.refused.empty()) return absl::UnimplementedError(absl::StrCat(library, " sees no device"));
  return made.refused.front();
}

}  // namespace a8a::daemon
