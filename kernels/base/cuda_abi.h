// The part of the CUDA driver's binary interface that a8a uses, declared here so that every build can talk to a driver,
// with or without a CUDA toolkit. Where a toolkit is found, cuda_abi_check.cc compares each declaration with its
// cuda.h.
//
// Names and values: CUDA driver API reference, sections "Data types" and "Virtual Memory Management".
#ifndef A8A_KERNELS_BASE_CUDA_ABI_H_
#define A8A_KERNELS_BASE_CUDA_ABI_H_

#include <array>
#include <cstddef>
#include <cstdint>

struct CUctx_st;  // CUcontext is a pointer to it

namespace a8a::cuda {

// CUresult; not an enum class, because drivers return values that no header knows yet. kResult*: those told apart.
using Result = int;
inline constexpr Result kSuccess = 0;
inline constexpr Result kResultInvalidValue = 1;
inline constexpr Result kResultOutOfMemory = 2;
inline constexpr Result kResultNotInitialized = 3;
inline constexpr Result kResultDeinitialized = 4;
inline constexpr Result kResultStubLibrary = 34;
inline constexpr Result kResultNewerDriverNeeded = 36;
inline constexpr Result kResultDeviceUnavailable = 46;
inline constexpr Result kResultNoDevice = 100;
inline constexpr Result kResultInvalidDevice = 101;
inline constexpr Result kResultEccUncorrectable = 214;
inline constexpr Result kResultPeerAccessUnsupported = 217;
inline constexpr Result kResultNvlinkUncorrectable = 220;
inline constexpr Result kResultContained = 226;
inline constexpr Result kResultIllegalAddress = 700;
inline constexpr Result kResultLaunchTimeout = 702;
inline constexpr Result kResultAssert = 710;
inline constexpr Result kResultTooManyPeers = 711;
inline constexpr Result kResultHardwareStackError = 714;
inline constexpr Result kResultIllegalInstruction = 715;
inline constexpr Result kResultMisalignedAddress = 716;
inline constexpr Result kResultInvalidAddressSpace = 717;
inline constexpr Result kResultInvalidPc = 718;
inline constexpr Result kResultLaunchFailed = 719;
inline constexpr Result kResultTensorMemoryLeak = 721;
inline constexpr Result kResultNotPermitted = 800;
inline constexpr Result kResultNotSupported = 801;
inline constexpr Result kResultSystemNotReady = 802;
inline constexpr Result kResultSystemDriverMismatch = 803;
inline constexpr Result kResultCompatNotSupported = 804;
inline constexpr Result kResultMpsConnectionFailed = 805;
inline constexpr Result kResultMpsClientTerminated = 810;

using DeviceHandle = int;                  // CUdevice: the ordinal in this process
using DeviceAddress = unsigned long long;  // CUdeviceptr
using MemoryHandle = unsigned long long;   // CUmemGenericAllocationHandle
using Context = CUctx_st*;

struct Uuid {
  std::array<unsigned char, 16> bytes;
  bool operator==(const Uuid&) const = default;
};

enum class DeviceAttribute : int {
  kPciBusId = 33,
  kPciDeviceId = 34,
  kPciDomainId = 50,
  kVirtualMemoryManagementSupported = 102,
  kPosixFileDescriptorSupported = 103,
};
enum class P2pAttribute : int { kNativeAtomicSupported = 3 };

enum class AllocationType : int { kPinned = 1 };
enum class HandleType : int { kNone = 0, kPosixFileDescriptor = 1 };
enum class LocationType : int { kDevice = 1 };
enum class AccessFlags : int { kReadWrite = 3 };
enum class Granularity : int { kMinimum = 0 };

struct MemoryLocation {
  LocationType type;
  int id;
};

struct AllocationProperties {
  AllocationType type;
  HandleType handle_types;
  MemoryLocation location;
  void* win32_metadata;
  struct {
    unsigned char compression_type;
    unsigned char rdma_capable;
    unsigned short usage;
    unsigned char reserved[4];
  } flags;
};

struct AccessDescription {
  MemoryLocation location;
  AccessFlags flags;
};

}  // namespace a8a::cuda

#endif  // A8A_KERNELS_BASE_CUDA_ABI_H_
