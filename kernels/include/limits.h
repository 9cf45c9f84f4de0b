// Limits that daemon, client and kernels share. Each bounds a table in shared memory or a bit mask in a register.
#ifndef A8A_KERNELS_INCLUDE_LIMITS_H_
#define A8A_KERNELS_INCLUDE_LIMITS_H_

#include <cstdint>

namespace a8a {

// Ranks of a group: pending peers fit one 64-bit mask, and a node has at most 16 GPUs.
inline constexpr int kMaxWorldSize = 64;
// Channels of a group: each costs world_size * 384 bytes of flags on every rank.
inline constexpr int kMaxChannels = 64;
inline constexpr int kDefaultChannels = 8;
// Windows of a group: each costs a counter line in every rank's control page and world_size mappings.
inline constexpr int kMaxWindows = 64;
// Largest size of one buffer: keeps every sum of two offsets far from the end of int64.
inline constexpr std::int64_t kMaxBufferBytes = std::int64_t{1} << 50;
// A legacy IPC handle of CUDA, CU_IPC_HANDLE_SIZE.
inline constexpr int kIpcHandleBytes = 64;
// Names of clients, groups, buffers and windows.
inline constexpr int kMaxNameBytes = 64;

}  // namespace a8a

#endif  // A8A_KERNELS_INCLUDE_LIMITS_H_
