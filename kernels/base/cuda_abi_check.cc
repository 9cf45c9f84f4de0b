// Compares cuda_abi.h with the toolkit's cuda.h at compile time. Built where there is a toolkit; has no code.
#include <cuda.h>

#include <cstddef>
#include <type_traits>

#include "kernels/base/cuda_abi.h"

namespace a8a::cuda {
namespace {

static_assert(sizeof(Result) == sizeof(CUresult));
static_assert(kResultInvalidValue == CUDA_ERROR_INVALID_VALUE);
static_assert(kResultOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(kResultNotInitialized == CUDA_ERROR_NOT_INITIALIZED);
static_assert(kResultDeinitialized == CUDA_ERROR_DEINITIALIZED);
static_assert(kResultStubLibrary == CUDA_ERROR_STUB_LIBRARY);
static_assert(kResultDeviceUnavailable == CUDA_ERROR_DEVICE_UNAVAILABLE);
static_assert(kResultNoDevice == CUDA_ERROR_NO_DEVICE);
static_assert(kResultInvalidDevice == CUDA_ERROR_INVALID_DEVICE);
static_assert(kResultEccUncorrectable == CUDA_ERROR_ECC_UNCORRECTABLE);
static_assert(kResultPeerAccessUnsupported == CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
static_assert(kResultNvlinkUncorrectable == CUDA_ERROR_NVLINK_UNCORRECTABLE);
static_assert(kResultIllegalAddress == CUDA_ERROR_ILLEGAL_ADDRESS);
static_assert(kResultLaunchTimeout == CUDA_ERROR_LAUNCH_TIMEOUT);
static_assert(kResultAssert == CUDA_ERROR_ASSERT);
static_assert(kResultTooManyPeers == CUDA_ERROR_TOO_MANY_PEERS);
static_assert(kResultHardwareStackError == CUDA_ERROR_HARDWARE_STACK_ERROR);
static_assert(kResultIllegalInstruction == CUDA_ERROR_ILLEGAL_INSTRUCTION);
static_assert(kResultMisalignedAddress == CUDA_ERROR_MISALIGNED_ADDRESS);
static_assert(kResultInvalidAddressSpace == CUDA_ERROR_INVALID_ADDRESS_SPACE);
static_assert(kResultInvalidPc == CUDA_ERROR_INVALID_PC);
static_assert(kResultLaunchFailed == CUDA_ERROR_LAUNCH_FAILED);
static_assert(kResultNotPermitted == CUDA_ERROR_NOT_PERMITTED);
static_assert(kResultNotSupported == CUDA_ERROR_NOT_SUPPORTED);
static_assert(kResultSystemNotReady == CUDA_ERROR_SYSTEM_NOT_READY);
static_assert(kResultSystemDriverMismatch == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
static_assert(kResultCompatNotSupported == CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE);
#if CUDA_VERSION >= 11040
static_assert(kResultMpsConnectionFailed == CUDA_ERROR_MPS_CONNECTION_FAILED);
#endif
#if CUDA_VERSION >= 13000
static_assert(kResultNewerDriverNeeded == CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER);
static_assert(kResultContained == CUDA_ERROR_CONTAINED);
static_assert(kResultTensorMemoryLeak == CUDA_ERROR_TENSOR_MEMORY_LEAK);
static_assert(kResultMpsClientTerminated == CUDA_ERROR_MPS_CLIENT_TERMINATED);
#endif

static_assert(std::is_same_v<DeviceHandle, CUdevice>);
static_assert(std::is_same_v<DeviceAddress, CUdeviceptr>);
static_assert(std::is_same_v<MemoryHandle, CUmemGenericAllocationHandle>);
static_assert(std::is_same_v<Context, CUcontext>);
static_assert(sizeof(Uuid) == sizeof(CUuuid));

template <typename Ours, typename Theirs>
constexpr bool Same(Ours ours, Theirs theirs) {
  return sizeof(Ours) == sizeof(Theirs) && static_cast<int>(ours) == static_cast<int>(theirs);
}
static_assert(Same(DeviceAttribute::kPciBusId, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID));
static_assert(Same(DeviceAttribute::kPciDeviceId, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID));
static_assert(Same(DeviceAttribute::kPciDomainId, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID));
static_assert(Same(DeviceAttribute::kVirtualMemoryManagementSupported,
                   CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED));
static_assert(Same(DeviceAttribute::kPosixFileDescriptorSupported,
                   CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED));
static_assert(Same(P2pAttribute::kNativeAtomicSupported, CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED));
static_assert(Same(AllocationType::kPinned, CU_MEM_ALLOCATION_TYPE_PINNED));
static_assert(Same(HandleType::kPosixFileDescriptor, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
static_assert(Same(LocationType::kDevice, CU_MEM_LOCATION_TYPE_DEVICE));
static_assert(Same(AccessFlags::kReadWrite, CU_MEM_ACCESS_FLAGS_PROT_READWRITE));
static_assert(Same(Granularity::kMinimum, CU_MEM_ALLOC_GRANULARITY_MINIMUM));

static_assert(sizeof(MemoryLocation) == sizeof(CUmemLocation));
static_assert(offsetof(MemoryLocation, id) == offsetof(CUmemLocation, id));
static_assert(sizeof(AllocationProperties) == sizeof(CUmemAllocationProp));
static_assert(offsetof(AllocationProperties, handle_types) == offsetof(CUmemAllocationProp, requestedHandleTypes));
static_assert(offsetof(AllocationProperties, location) == offsetof(CUmemAllocationProp, location));
static_assert(offsetof(AllocationProperties, win32_metadata) == offsetof(CUmemAllocationProp, win32HandleMetaData));
static_assert(offsetof(AllocationProperties, flags) == offsetof(CUmemAllocationProp, allocFlags));
static_assert(sizeof(AccessDescription) == sizeof(CUmemAccessDesc));
static_assert(offsetof(AccessDescription, flags) == offsetof(CUmemAccessDesc, flags));

}  // namespace
}  // namespace a8a::cuda
