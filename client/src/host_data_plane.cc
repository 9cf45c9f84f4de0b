#include "client/src/host_data_plane.h"

#include <utility>

#include "kernels/base/status_macros.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::client {
namespace {

struct HostPlan final : PreparedPlan {
  kernels::host::Plan plan;
};

absl::Status CheckStream(Stream stream) {
  if (stream == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError("stream must be null on the host device: the calling thread does the work");
}

absl::Status NoIpc() {
  return absl::UnimplementedError(
      "windows on memory of the caller's own take a CUDA device; this group is on the host");
}

class HostDataPlane final : public DataPlane {
 public:
  [[nodiscard]] bool IsBlockCount(int block_count) const override { return block_count == 0; }
  [[nodiscard]] std::int64_t overhead_bytes() const override { return 0; }

  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> Map(UniqueFd fd, std::int64_t size_bytes,
                                                             absl::string_view what) const override {
    return MapHostMemory(std::move(fd), size_bytes, what);
  }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> MapControl(UniqueFd fd, std::int64_t size_bytes,
                                                                    absl::string_view what) const override {
    return MapHostMemory(std::move(fd), size_bytes, what);
  }

  [[nodiscard]] absl::StatusOr<IpcMemory> Share(std::byte*, std::int64_t) const override { return NoIpc(); }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> MapShared(const IpcMemory&, std::int64_t,
                                                                   absl::string_view) const override {
    return NoIpc();
  }

  [[nodiscard]] absl::Status AllToAll(const kernels::AllToAllParams& params, Stream stream) const override {
    A8A_RETURN_IF_ERROR(CheckStream(stream));
    return kernels::host::AllToAll(params);
  }

  [[nodiscard]] std::unique_ptr<PreparedPlan> NewPlan() const override { return std::make_unique<HostPlan>(); }

  [[nodiscard]] absl::Status Prepare(const kernels::AllToAllParams& params, PreparedPlan* plan,
                                     Stream stream) const override {
    A8A_RETURN_IF_ERROR(CheckStream(stream));
    return kernels::host::Prepare(params, &static_cast<HostPlan*>(plan)->plan);
  }

  [[nodiscard]] absl::Status AllToAll(const PreparedPlan& plan, const std::byte* input, std::int64_t timeout_ns,
                                      Stream stream) const override {
    A8A_RETURN_IF_ERROR(CheckStream(stream));
    return kernels::host::AllToAll(static_cast<const HostPlan&>(plan).plan, input, timeout_ns);
  }

  [[nodiscard]] absl::Status TakeStatus(const kernels::GroupView& group, int channel) const override {
    return kernels::host::TakeStatus(group, channel);
  }
};

}  // namespace

std::unique_ptr<const DataPlane> MakeHostDataPlane() { return std::make_unique<HostDataPlane>(); }

}  // namespace a8a::client
