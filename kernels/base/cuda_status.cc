#include "kernels/base/cuda_status.h"

#include "absl/strings/str_cat.h"

namespace a8a::cuda {
namespace {

absl::StatusCode CodeOf(Result result) {
  if (IsSticky(result)) return absl::StatusCode::kFailedPrecondition;
  if (result >= kResultMpsConnectionFailed && result <= kResultMpsClientTerminated) {
    return absl::StatusCode::kUnavailable;
  }
  switch (result) {
    case kSuccess:
      return absl::StatusCode::kOk;
    case kResultOutOfMemory:
    case kResultTooManyPeers:
      return absl::StatusCode::kResourceExhausted;
    case kResultDeviceUnavailable:
    case kResultNoDevice:
    case kResultEccUncorrectable:
    case kResultNvlinkUncorrectable:
    case kResultSystemNotReady:
      return absl::StatusCode::kUnavailable;
    case kResultPeerAccessUnsupported:
    case kResultNewerDriverNeeded:
    case kResultNotSupported:
    case kResultSystemDriverMismatch:
    case kResultCompatNotSupported:
      return absl::StatusCode::kFailedPrecondition;
    case kResultNotPermitted:
      return absl::StatusCode::kPermissionDenied;
    case kResultStubLibrary:
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

bool IsSticky(Result result) {
  switch (result) {
    case kResultContained:
    case kResultIllegalAddress:
    case kResultLaunchTimeout:
    case kResultAssert:
    case kResultHardwareStackError:
    case kResultIllegalInstruction:
    case kResultMisalignedAddress:
    case kResultInvalidAddressSpace:
    case kResultInvalidPc:
    case kResultLaunchFailed:
    case kResultTensorMemoryLeak:
      return true;
    default:
      return false;
  }
}

absl::Status ResultToStatus(Result result, absl::string_view name, absl::string_view doing) {
  if (result == kSuccess) return absl::OkStatus();
  return absl::Status(
      CodeOf(result),
      absl::StrCat(doing, ": ", name, " (", result, ")",
                   IsSticky(result) ? "; a kernel of this process failed and its CUDA context is broken "
                                      "for good: restart the process"
                                    : ""));
}

}  // namespace a8a::cuda
