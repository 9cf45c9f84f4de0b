// The seam between groups and the kind of device that their memory lies on: how it is mapped, and how all-to-alls are
// launched there.
//
// Implementations are host_data_plane.cc and cuda_data_plane.cc. They have no state of their own beyond the device and
// memory for plans, and are thread-safe as far as host_all_to_all.h says of a channel.
#ifndef A8A_CLIENT_SRC_DATA_PLANE_H_
#define A8A_CLIENT_SRC_DATA_PLANE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "a8a/types.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/src/mapping.h"
#include "kernels/base/unique_fd.h"
#include "kernels/include/all_to_all.h"

namespace a8a::client {

// What Prepare leaves for the all-to-alls that follow, in the data plane's own form.
class PreparedPlan {
 public:
  virtual ~PreparedPlan() = default;
};

// Device memory that a process has allocated itself, as other processes name it.
struct IpcMemory {
  std::string handle;
  std::int64_t offset_bytes = 0;  // in the allocation that the handle names
};

class DataPlane {
 public:
  virtual ~DataPlane() = default;

  // Whether GroupControl::block_count can be that of a group on this device: it comes out of shared memory.
  [[nodiscard]] virtual bool IsBlockCount(int block_count) const = 0;
  // Device memory that a group takes for this data plane's own use.
  [[nodiscard]] virtual std::int64_t overhead_bytes() const = 0;

  // Maps memory of the device. Errors as MapHostMemory.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Mapping>> Map(UniqueFd fd, std::int64_t size_bytes,
                                                                     absl::string_view what) const = 0;
  // Maps a control segment, which is host memory, for the calling process and the device.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Mapping>> MapControl(UniqueFd fd, std::int64_t size_bytes,
                                                                            absl::string_view what) const = 0;

  // Names memory of this process, for other processes to map; it stays the caller's.
  //
  // Errors: INVALID_ARGUMENT (not memory of this device, or not in one allocation), FAILED_PRECONDITION (it was
  // allocated in a way that cannot be shared), UNIMPLEMENTED (on the host).
  [[nodiscard]] virtual absl::StatusOr<IpcMemory> Share(std::byte* data, std::int64_t size_bytes) const = 0;
  // Maps what another process has named; it must outlive the mapping. Errors: INVALID_ARGUMENT (the allocation ends
  // before it), FAILED_PRECONDITION (the handle cannot be opened), UNIMPLEMENTED (on the host).
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Mapping>> MapShared(const IpcMemory& memory,
                                                                           std::int64_t size_bytes,
                                                                           absl::string_view what) const = 0;

  // As their namesakes in kernels/include/host_all_to_all.h. Everything that `params` points to outlives the launch.
  [[nodiscard]] virtual absl::Status AllToAll(const kernels::AllToAllParams& params, Stream stream) const = 0;
  [[nodiscard]] virtual std::unique_ptr<PreparedPlan> NewPlan() const = 0;
  // `plan` was made by NewPlan of this data plane.
  [[nodiscard]] virtual absl::Status Prepare(const kernels::AllToAllParams& params, PreparedPlan* plan,
                                             Stream stream) const = 0;
  [[nodiscard]] virtual absl::Status AllToAll(const PreparedPlan& plan, const std::byte* input, std::int64_t timeout_ns,
                                              Stream stream) const = 0;
  [[nodiscard]] virtual absl::Status TakeStatus(const kernels::GroupView& group, int channel) const = 0;
};

enum class DeviceKind { kUnknown, kHost, kCuda };

// A device as the daemon lists it.
struct DeviceInfo {
  std::string name;
  DeviceKind kind = DeviceKind::kUnknown;
  std::string uuid;  // empty for the host
};

// A device that this process has asked for: its name at the daemon, and how it is used here.
struct DeviceBinding {
  std::string daemon_name;
  std::unique_ptr<const DataPlane> data_plane;
};

// Finds the device that Device{name} means in this process; "cuda:N" is numbered as cudaSetDevice numbers.
//
// Errors: NOT_FOUND (the daemon has no such device; names those it has), UNIMPLEMENTED (this build or this machine has
// no data plane for it), those of CudaDevice::Open.
[[nodiscard]] absl::StatusOr<DeviceBinding> BindDevice(const std::string& name, const std::vector<DeviceInfo>& devices);

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_DATA_PLANE_H_
