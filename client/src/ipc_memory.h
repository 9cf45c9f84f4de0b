// Device memory of the application's own in a window: legacy IPC handles of the CUDA runtime.
//
// Unlike a lease of the daemon, such memory is not kept by those who have mapped it: the process that allocated it must
// not free it, nor end, while a peer may still store into it. [CUDA Runtime API, device management,
// cudaIpcOpenMemHandle]
#ifndef A8A_CLIENT_SRC_IPC_MEMORY_H_
#define A8A_CLIENT_SRC_IPC_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "client/src/cuda_device.h"
#include "client/src/data_plane.h"
#include "client/src/mapping.h"

namespace a8a::client {

// As DataPlane::Share and DataPlane::MapShared. The device must be current.
[[nodiscard]] absl::StatusOr<IpcMemory> ShareMemory(const CudaDevice& device, const std::byte* data,
                                                    std::int64_t size_bytes);
[[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> MapIpcMemory(std::shared_ptr<const CudaDevice> device,
                                                                    const IpcMemory& memory, std::int64_t size_bytes,
                                                                    absl::string_view what);

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_IPC_MEMORY_H_
