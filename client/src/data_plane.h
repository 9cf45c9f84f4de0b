// The seam between groups and the kind of device that their memory lies on: how it is mapped, and how all-to-alls are
// launched there.
//
// The host implementation is host_data_plane.cc; a CUDA one joins here. Implementations have no state of their own
// beyond the device and are thread-safe as far as host_all_to_all.h says of a channel.
#ifndef A8A_CLIENT_SRC_DATA_PLANE_H_
#define A8A_CLIENT_SRC_DATA_PLANE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

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

class DataPlane {
 public:
  virtual ~DataPlane() = default;

  // GroupControl::block_count that groups on this device have.
  [[nodiscard]] virtual int block_count() const = 0;

  // Maps memory of the device. Errors as MapHostMemory.
  [[nodiscard]] virtual absl::StatusOr<std::unique_ptr<Mapping>> Map(UniqueFd fd, std::int64_t size_bytes,
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

// The data plane of a device; `name` is for messages.
//
// Errors: UNIMPLEMENTED (this build has none for that kind).
[[nodiscard]] absl::StatusOr<std::unique_ptr<const DataPlane>> MakeDataPlane(DeviceKind kind, absl::string_view name);

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_DATA_PLANE_H_
