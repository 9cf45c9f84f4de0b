// Loads, stores and fences with their order spelled out, one wrapper per instruction. [PTX ISA, memory consistency
// model] Words that ranks share are accessed at system scope: a peer may be another process or another device.
#ifndef A8A_KERNELS_CUDA_MEMORY_DEVICE_CUH_
#define A8A_KERNELS_CUDA_MEMORY_DEVICE_CUH_

#include <cstdint>

#include "kernels/include/flags_layout.h"

namespace a8a::kernels::cuda {

__device__ inline std::uint64_t LoadAcquire(const std::uint64_t* word) {
  std::uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
  return value;
}

__device__ inline std::uint64_t LoadRelaxed(const std::uint64_t* word) {
  std::uint64_t value;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(word) : "memory");
  return value;
}

__device__ inline void StoreRelaxed(std::uint64_t* word, std::uint64_t value) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}

__device__ inline void StoreRelaxed(std::uint32_t* word, std::uint32_t value) {
  asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

// One access of 16 bytes: value and stamp belong together.
__device__ inline StampedWord LoadAcquire(const StampedWord* word) {
  StampedWord seen;
  asm volatile("{ .reg .b128 t; ld.acquire.sys.global.b128 t, [%2]; mov.b128 {%0, %1}, t; }"
               : "=l"(seen.value), "=l"(seen.stamp)
               : "l"(word)
               : "memory");
  return seen;
}

__device__ inline void StoreRelaxed(StampedWord* word, StampedWord value) {
  asm volatile("{ .reg .b128 t; mov.b128 t, {%0, %1}; st.relaxed.sys.global.b128 [%2], t; }" ::"l"(value.value),
               "l"(value.stamp), "l"(word)
               : "memory");
}

// Orders everything this thread did or has seen (through __syncthreads, what its block did) before what it stores next.
__device__ inline void ReleaseFence() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }

// Orders what this thread has loaded before what it loads and stores next.
__device__ inline void AcquireFence() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }

__device__ inline void MaxRelaxed(std::uint64_t* word, std::uint64_t value) {
  asm volatile("red.relaxed.sys.global.max.u64 [%0], %1;" ::"l"(word), "l"(value) : "memory");
}

// Programmatic dependent launch: the next kernel of the stream may be set up while this one still runs, and waits for
// its end itself. Kernels here wait before their first access to memory, so they behave as in plain stream order.
__device__ inline void WaitForEarlierKernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void LetNextKernelStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Has `value`, a kernel's argument, at hand from here on: the first access to a line of them takes a trip to L2.
template <typename T>
__device__ inline void Fetch(const T* value) {
  asm volatile("" ::"l"(value) : "memory");
}
__device__ inline void Fetch(int value) { asm volatile("" ::"r"(value) : "memory"); }

__device__ inline std::uint64_t NowNs() {
  std::uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
  return now;
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_MEMORY_DEVICE_CUH_
