// Moving the rows of pairs: every block takes an equal part of the bytes of all pairs.
#ifndef A8A_KERNELS_CUDA_COPY_DEVICE_CUH_
#define A8A_KERNELS_CUDA_COPY_DEVICE_CUH_

#include <cstdint>

#include "kernels/cuda/plan.h"

namespace a8a::kernels::cuda {

// Blocks start at multiples of this, so that they share no line of the input; pairs are cut at multiples of kCut.
inline constexpr std::int64_t kBlockGrain = 128;
inline constexpr std::int64_t kCut = 16;
// Loads in flight per thread before the first store. Eight measured slower than four, at all sizes; the paths that no
// large job takes have one, for the sake of their code: several ranks on a device have a copy of it each.
template <typename T, bool kJumps>
constexpr int UnrollOf() {
  return sizeof(T) == 16 && !kJumps ? 4 : 1;
}

// Quotient and remainder of values that are at least 0. 64-bit division is a long subroutine, and most views need none:
// their rows are one run, or lie one by one.
__device__ inline void DivideSteps(std::int64_t a, std::int64_t b, std::int64_t* quotient, std::int64_t* remainder) {
  if (a < b) {
    *quotient = 0;
    *remainder = a;
  } else if (b == 1) {
    *quotient = a;
    *remainder = 0;
  } else if (((a | b) >> 32) == 0) {
    const auto q = static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b);
    *quotient = q;
    *remainder = static_cast<std::uint32_t>(a) - q * static_cast<std::uint32_t>(b);
  } else {
    *quotient = a / b;
    *remainder = a - *quotient * b;
  }
}

__device__ inline std::int64_t BlockBytes(std::int64_t total_bytes, int block_count) {
  std::int64_t share = 0;
  std::int64_t rest = 0;
  DivideSteps(total_bytes, block_count, &share, &rest);
  if (rest != 0) ++share;
  return (share + kBlockGrain - 1) / kBlockGrain * kBlockGrain;
}

// What one load and one store move. Rows are read once and written once: neither is worth a place in L1. Not the
// read-only path (.nc): the launch may be set up while the kernel that makes the input still runs.
struct Unit16 {
  std::uint64_t low, high;
};
template <typename T>
__device__ inline T LoadUnit(const std::byte* at) {
  return *reinterpret_cast<const T*>(at);
}
template <>
__device__ inline Unit16 LoadUnit<Unit16>(const std::byte* at) {
  Unit16 unit;
  asm volatile("ld.global.L1::no_allocate.v2.u64 {%0, %1}, [%2];" : "=l"(unit.low), "=l"(unit.high) : "l"(at));
  return unit;
}
template <typename T>
__device__ inline void StoreUnit(std::byte* at, T unit) {
  *reinterpret_cast<T*>(at) = unit;
}
template <>
__device__ inline void StoreUnit<Unit16>(std::byte* at, Unit16 unit) {
  asm volatile("st.global.L1::no_allocate.v2.u64 [%0], {%1, %2};" ::"l"(at), "l"(unit.low), "l"(unit.high) : "memory");
}

// Positions of one thread's units, kThreads units apart. All steps are additions.
template <typename T>
class LinearCursor {
 public:
  __device__ LinearCursor(const std::byte* from, std::byte* to, std::int64_t unit)
      : from_(from + unit * sizeof(T)), to_(to + unit * sizeof(T)) {}
  __device__ const std::byte* from() const { return from_; }
  __device__ std::byte* to() const { return to_; }
  __device__ void Advance() {
    from_ += kThreads * sizeof(T);
    to_ += kThreads * sizeof(T);
  }

 private:
  const std::byte* from_;
  std::byte* to_;
};

// One side of a StridedCursor: an address that goes from row to row and jumps where the view's inner rows end.
// In integers: a pair's base is one, or an offset.
template <bool kJumps>
class RowAddress {
 public:
  // At `row`, `column` bytes into it; a step is `step_rows` rows and `step_bytes` bytes.
  __device__ RowAddress(std::int64_t origin, const RowSteps& steps, std::int64_t row_bytes, std::int64_t row,
                        std::int64_t column, std::int64_t step_rows, std::int64_t step_bytes)
      : address_(origin + steps.base + row * steps.stride + column),
        step_(step_rows * steps.stride + step_bytes),
        carry_(steps.stride - row_bytes) {
    if constexpr (kJumps) {
      std::int64_t jumps = 0;
      size_ = steps.inner_size;
      jump_ = steps.jump;
      DivideSteps(steps.first_inner + row, size_, &jumps, &inner_);
      address_ += jumps * jump_;
      DivideSteps(step_rows, size_, &jumps, &step_inner_);
      step_ += jumps * jump_;
    }
  }

  __device__ std::int64_t get() const { return address_; }
  __device__ void Advance(bool next_row) {
    address_ += step_ + (next_row ? carry_ : 0);
    if constexpr (kJumps) {
      inner_ += step_inner_ + (next_row ? 1 : 0);
      if (inner_ >= size_) {
        inner_ -= size_;
        address_ += jump_;
      }
    }
  }

 private:
  std::int64_t address_;
  std::int64_t step_;
  std::int64_t carry_;
  std::int64_t inner_ = 0;
  std::int64_t step_inner_ = 0;
  std::int64_t size_ = 0;
  std::int64_t jump_ = 0;
};

template <typename T, bool kJumps>
class StridedCursor {
 public:
  struct Start {
    std::int64_t row, column, step_rows, step_columns;
  };
  __device__ static Start At(std::int64_t unit, std::int64_t row_units) {
    Start start;
    DivideSteps(unit, row_units, &start.row, &start.column);
    DivideSteps(kThreads, row_units, &start.step_rows, &start.step_columns);
    return start;
  }

  __device__ StridedCursor(const std::byte* input, const SendPair& pair, std::int64_t row_bytes, std::int64_t unit)
      : StridedCursor(input, pair, row_bytes, At(unit, row_bytes / static_cast<std::int64_t>(sizeof(T)))) {}
  __device__ StridedCursor(const std::byte* input, const SendPair& pair, std::int64_t row_bytes, const Start& start)
      : row_units_(row_bytes / static_cast<std::int64_t>(sizeof(T))),
        column_(start.column),
        step_columns_(start.step_columns),
        from_(reinterpret_cast<std::int64_t>(input), pair.from, row_bytes, start.row, start.column * kUnit,
              start.step_rows, start.step_columns * kUnit),
        to_(0, pair.to, row_bytes, start.row, start.column * kUnit, start.step_rows, start.step_columns * kUnit) {}

  __device__ const std::byte* from() const { return reinterpret_cast<const std::byte*>(from_.get()); }
  __device__ std::byte* to() const { return reinterpret_cast<std::byte*>(to_.get()); }
  __device__ void Advance() {
    column_ += step_columns_;
    const bool next_row = column_ >= row_units_;
    if (next_row) column_ -= row_units_;
    from_.Advance(next_row);
    to_.Advance(next_row);
  }

 private:
  static constexpr std::int64_t kUnit = sizeof(T);

  std::int64_t row_units_;
  std::int64_t column_;
  std::int64_t step_columns_;
  RowAddress<kJumps> from_;
  RowAddress<kJumps> to_;
};

// Copies this thread's share of `count` units, the cursor standing at its first.
template <typename T, int kUnroll, typename Cursor>
__device__ inline void CopyUnits(Cursor cursor, std::int64_t count) {
  std::int64_t left = (count - static_cast<int>(threadIdx.x) + kThreads - 1) / kThreads;
  T units[kUnroll];
  std::byte* to[kUnroll];
  for (; left >= kUnroll; left -= kUnroll) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      units[u] = LoadUnit<T>(cursor.from());
      to[u] = cursor.to();
      cursor.Advance();
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) StoreUnit(to[u], units[u]);
  }
  if constexpr (kUnroll > 1) {
#pragma unroll
    for (int u = 0; u < kUnroll - 1; ++u) {
      if (u >= left) break;
      units[u] = LoadUnit<T>(cursor.from());
      to[u] = cursor.to();
      cursor.Advance();
    }
#pragma unroll
    for (int u = 0; u < kUnroll - 1; ++u) {
      if (u < left) StoreUnit(to[u], units[u]);
    }
  }
}

template <typename T>
__device__ inline void CopyLinear(const std::byte* input, const SendPair& pair, std::int64_t low, std::int64_t high) {
  constexpr std::int64_t kUnit = sizeof(T);
  const std::byte* from = input + pair.from.base;
  std::byte* to = reinterpret_cast<std::byte*>(pair.to.base);
  const std::int64_t first = low / kUnit;
  const std::int64_t count = high / kUnit - first;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < count) CopyUnits<T, UnrollOf<T, false>()>(LinearCursor<T>(from, to, first + thread), count);
  // What no whole unit covers, at the end of the pair.
  const std::int64_t rest = (first + count) * kUnit + thread;
  if (rest < high) to[rest] = from[rest];
}

template <typename T, bool kJumps>
__device__ inline void CopyStrided(const std::byte* input, const SendPair& pair, std::int64_t row_bytes,
                                   std::int64_t low, std::int64_t high) {
  constexpr std::int64_t kUnit = sizeof(T);
  const std::int64_t first = low / kUnit;
  const std::int64_t count = high / kUnit - first;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread >= count) return;
  CopyUnits<T, UnrollOf<T, kJumps>()>(StridedCursor<T, kJumps>(input, pair, row_bytes, first + thread), count);
}

// All but the plainest case; apart, so that their code and registers do not weigh on that: with several ranks on a
// device, each has its own copy of the code, and small all-to-alls wait for it.
template <typename T>
__device__ __forceinline__ void CopyPartOf(const std::byte* input, const SendPair* pair, std::int64_t row_bytes,
                                           std::int64_t low, std::int64_t high) {
  switch (pair->kind) {
    case CopyKind::kLinear:
      return CopyLinear<T>(input, *pair, low, high);
    case CopyKind::kAffine:
      return CopyStrided<T, /*kJumps=*/false>(input, *pair, row_bytes, low, high);
    case CopyKind::kStepped:
      return CopyStrided<T, /*kJumps=*/true>(input, *pair, row_bytes, low, high);
  }
}

__device__ __forceinline__ void CopyPartSlowly(const std::byte* input, const SendPair* pair, std::int64_t row_bytes,
                                               std::int64_t low, std::int64_t high, std::uint32_t bits) {
  if (bits % 16 == 0) {
    CopyPartOf<Unit16>(input, pair, row_bytes, low, high);
  } else if (bits % 8 == 0) {
    CopyPartOf<std::uint64_t>(input, pair, row_bytes, low, high);
  } else if (bits % 4 == 0) {
    CopyPartOf<std::uint32_t>(input, pair, row_bytes, low, high);
  } else {
    CopyPartOf<std::uint8_t>(input, pair, row_bytes, low, high);
  }
}

// Bytes [low, high) of a pair; both multiples of kCut, or `high` the pair's end.
__device__ inline void CopyPart(const std::byte* input, const SendPair& pair, std::int64_t row_bytes, std::int64_t low,
                                std::int64_t high) {
  const std::uint32_t bits = pair.alignment_bits | static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(input));
  if (bits % 16 == 0 && pair.kind == CopyKind::kLinear) {
    CopyLinear<Unit16>(input, pair, low, high);
  } else {
    CopyPartSlowly(input, &pair, row_bytes, low, high, bits);
  }
}

// This block's share of all pairs, except those to the ranks in `unwritable`. By all threads of the block; `pairs` is
// in shared memory.
__device__ inline void CopyShare(const std::byte* input, const SendPair* pairs, int world_size, std::int64_t row_bytes,
                                 std::int64_t block_bytes, std::uint64_t unwritable) {
  const std::int64_t begin = block_bytes * static_cast<int>(blockIdx.x);
  const std::int64_t end = begin + block_bytes;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll 1
  for (int first = 0; first < world_size; first += kWarpSize) {
    const int index = first + lane;
    const bool meets = index < world_size && pairs[index].size_bytes > 0 && pairs[index].begin_bytes < end &&
                       pairs[index].begin_bytes + pairs[index].size_bytes > begin;
    for (std::uint32_t rest = __ballot_sync(0xffffffffu, meets); rest != 0; rest &= rest - 1) {
      const SendPair& pair = pairs[first + __ffs(static_cast<int>(rest)) - 1];
      if (unwritable >> pair.peer & 1) continue;
      const std::int64_t low = begin > pair.begin_bytes ? (begin - pair.begin_bytes) / kCut * kCut : 0;
      const std::int64_t high =
          end < pair.begin_bytes + pair.size_bytes ? (end - pair.begin_bytes) / kCut * kCut : pair.size_bytes;
      CopyPart(input, pair, row_bytes, low, high);
    }
  }
}

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_COPY_DEVICE_CUH_
