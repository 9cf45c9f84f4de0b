#include "client/src/data_plane.h"

#include "absl/strings/str_cat.h"
#include "client/src/host_data_plane.h"

namespace a8a::client {

absl::StatusOr<std::unique_ptr<const DataPlane>> MakeDataPlane(DeviceKind kind, absl::string_view name) {
  switch (kind) {
    case DeviceKind::kHost:
      return MakeHostDataPlane();
    case DeviceKind::kCuda:
      return absl::UnimplementedError(
          absl::StrCat("device \"", name, "\": this build of liba8a has no data plane for CUDA; it has one for host"));
    case DeviceKind::kUnknown:
      break;
  }
  return absl::UnimplementedError(absl::StrCat("device \"", name, "\" is of a kind that liba8a does not know"));
}

}  // namespace a8a::client
