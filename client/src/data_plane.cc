#include "client/src/data_plane.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/src/cuda_data_plane.h"
#include "client/src/host_data_plane.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {
namespace {

absl::Status Unknown(const std::string& name, const std::vector<DeviceInfo>& devices) {
  const std::string known =
      absl::StrJoin(devices, ", ", [](std::string* out, const DeviceInfo& device) { out->append(device.name); });
  return absl::NotFoundError(absl::StrCat("device \"", name, "\" is unknown; the daemon has: ", known));
}

absl::StatusOr<DeviceBinding> BindCuda(const std::string& name, int ordinal, const std::vector<DeviceInfo>& devices) {
  absl::StatusOr<DeviceBinding> binding = BindCudaDevice(ordinal, devices);
  if (binding.ok()) return binding;
  return absl::Status(binding.status().code(), absl::StrCat("device \"", name, "\": ", binding.status().message()));
}

}  // namespace

absl::StatusOr<DeviceBinding> BindDevice(const std::string& name, const std::vector<DeviceInfo>& devices) {
  const auto is_cuda = [](const DeviceInfo& device) { return device.kind == DeviceKind::kCuda; };
  absl::string_view ordinal_text = name;
  int ordinal = 0;
  if (absl::ConsumePrefix(&ordinal_text, "cuda:") && absl::SimpleAtoi(ordinal_text, &ordinal) &&
      std::any_of(devices.begin(), devices.end(), is_cuda)) {
    return BindCuda(name, ordinal, devices);
  }
  const auto found =
      std::find_if(devices.begin(), devices.end(), [&](const DeviceInfo& device) { return device.name == name; });
  if (found == devices.end()) return Unknown(name, devices);
  if (found->kind == DeviceKind::kHost) return DeviceBinding{name, MakeHostDataPlane()};
  return absl::UnimplementedError(absl::StrCat("device \"", name, "\" is of a kind that liba8a does not know"));
}

}  // namespace a8a::client
