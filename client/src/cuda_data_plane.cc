#include "client/src/cuda_data_plane.h"

#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/cuda_device.h"
#include "client/src/cuda_runtime.h"
#include "client/src/ipc_memory.h"
#include "client/src/plan_pool.h"
#include "kernels/base/cuda_driver.h"
#include "kernels/base/mutex.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/cuda_all_to_all.h"

namespace a8a::client {
namespace {

kernels::cuda::Stream ToStream(Stream stream) { return static_cast<kernels::cuda::Stream>(stream); }

// A control segment that kernels read and write too.
class RegisteredMapping final : public Mapping {
 public:
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Mapping>> Create(std::shared_ptr<const CudaDevice> device,
                                                                       std::unique_ptr<Mapping> host,
                                                                       absl::string_view what) {
    // Portable: all contexts of the process may use it, and which is current does not matter.
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaHostRegister(host->data(), static_cast<std::size_t>(host->size_bytes()),
                                                      cudaHostRegisterMapped | cudaHostRegisterPortable),
                                     absl::StrCat(what, ": registering it with the device")));
    return std::unique_ptr<Mapping>(new RegisteredMapping(std::move(device), std::move(host)));
  }
  ~RegisteredMapping() override {
    if (!device_->IsOwner()) return;
    const CurrentDevice current(device_->ordinal());
    static_cast<void>(cudaHostUnregister(host_->data()));
  }
  [[nodiscard]] std::byte* data() const override { return host_->data(); }
  [[nodiscard]] std::int64_t size_bytes() const override { return host_->size_bytes(); }

 private:
  RegisteredMapping(std::shared_ptr<const CudaDevice> device, std::unique_ptr<Mapping> host)
      : device_(std::move(device)), host_(std::move(host)) {}

  const std::shared_ptr<const CudaDevice> device_;
  const std::unique_ptr<Mapping> host_;
};

struct CudaPlan final : PreparedPlan {
  explicit CudaPlan(std::shared_ptr<PlanPool> owner) : pool(std::move(owner)) {}
  ~CudaPlan() override {
    if (plan.device != nullptr) pool->Give(plan.device);
  }
  CudaPlan(const CudaPlan&) = delete;
  CudaPlan& operator=(const CudaPlan&) = delete;

  const std::shared_ptr<PlanPool> pool;
  kernels::cuda::Plan plan;
};

class CudaDataPlane final : public DataPlane {
 public:
  CudaDataPlane(std::shared_ptr<const CudaDevice> device, std::shared_ptr<PlanPool> plans)
      : device_(std::move(device)), plans_(std::move(plans)) {}

  [[nodiscard]] bool IsBlockCount(int block_count) const override {
    return block_count >= 1 && block_count <= kernels::cuda::kMaxBlockCount;
  }
  [[nodiscard]] std::int64_t overhead_bytes() const override { return plans_->size_bytes(); }

  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> Map(UniqueFd fd, std::int64_t size_bytes,
                                                             absl::string_view what) const override {
    return device_->Map(std::move(fd), size_bytes, what);
  }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> MapControl(UniqueFd fd, std::int64_t size_bytes,
                                                                    absl::string_view what) const override {
    const CurrentDevice current(device_->ordinal());
    A8A_ASSIGN_OR_RETURN(std::unique_ptr<Mapping> host, MapHostMemory(std::move(fd), size_bytes, what));
    return RegisteredMapping::Create(device_, std::move(host), what);
  }

  [[nodiscard]] absl::StatusOr<IpcMemory> Share(std::byte* data, std::int64_t size_bytes) const override {
    const CurrentDevice current(device_->ordinal());
    return ShareMemory(*device_, data, size_bytes);
  }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> MapShared(const IpcMemory& memory, std::int64_t size_bytes,
                                                                   absl::string_view what) const override {
    const CurrentDevice current(device_->ordinal());
    return MapIpcMemory(device_, memory, size_bytes, what);
  }

  [[nodiscard]] absl::Status AllToAll(const kernels::AllToAllParams& params, Stream stream) const override {
    const CurrentDevice current(device_->ordinal());
    return kernels::cuda::AllToAll(params, ToStream(stream));
  }
  [[nodiscard]] std::unique_ptr<PreparedPlan> NewPlan() const override { return std::make_unique<CudaPlan>(plans_); }
  [[nodiscard]] absl::Status Prepare(const kernels::AllToAllParams& params, PreparedPlan* plan,
                                     Stream stream) const override {
    const CurrentDevice current(device_->ordinal());
    kernels::cuda::Plan& cuda_plan = static_cast<CudaPlan*>(plan)->plan;
    if (cuda_plan.device == nullptr) {
      A8A_ASSIGN_OR_RETURN(cuda_plan.device, plans_->Take(ToStream(stream)));
    }
    return kernels::cuda::Prepare(params, &cuda_plan, ToStream(stream));
  }
  [[nodiscard]] absl::Status AllToAll(const PreparedPlan& plan, const std::byte* input, std::int64_t timeout_ns,
                                      Stream stream) const override {
    const CurrentDevice current(device_->ordinal());
    return kernels::cuda::AllToAll(static_cast<const CudaPlan&>(plan).plan, input, timeout_ns, ToStream(stream));
  }
  [[nodiscard]] absl::Status TakeStatus(const kernels::GroupView& group, int channel) const override {
    return kernels::cuda::TakeStatus(group, channel);
  }

 private:
  const std::shared_ptr<const CudaDevice> device_;
  const std::shared_ptr<PlanPool> plans_;
};

// Loaded once; a driver that comes later is found by the next call.
absl::StatusOr<std::shared_ptr<const cuda::Driver>> SharedDriver() {
  static auto* const mutex = new Mutex;
  static auto* const loaded = new std::shared_ptr<const cuda::Driver>;
  const MutexLock lock(mutex);
  if (*loaded == nullptr) {
    A8A_ASSIGN_OR_RETURN(*loaded, cuda::Driver::Load());
  }
  return *loaded;
}

std::vector<DaemonDevice> CudaDevices(const std::vector<DeviceInfo>& devices) {
  std::vector<DaemonDevice> found;
  for (const DeviceInfo& device : devices) {
    if (device.kind == DeviceKind::kCuda) found.push_back({device.name, device.uuid});
  }
  return found;
}

}  // namespace

absl::StatusOr<DeviceBinding> BindCudaDevice(int ordinal, const std::vector<DeviceInfo>& devices) {
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<const cuda::Driver> driver, SharedDriver());
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<const CudaDevice> device, CudaDevice::Open(std::move(driver), ordinal));
  DeviceBinding binding;
  A8A_ASSIGN_OR_RETURN(binding.daemon_name, DaemonDeviceName(device->uuid(), CudaDevices(devices)));
  const CurrentDevice current(ordinal);
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<PlanPool> plans, PlanPool::Create(device));
  binding.data_plane = std::make_unique<CudaDataPlane>(std::move(device), std::move(plans));
  return binding;
}

}  // namespace a8a::client
