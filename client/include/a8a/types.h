// The words of the interface: devices, channels, views and splits.
#ifndef A8A_TYPES_H_
#define A8A_TYPES_H_

#include <cstdint>
#include <string>

namespace a8a {

// Where memory lies: "host", shared memory of the machine, or "cuda:N", the GPU that cudaSetDevice(N) chooses in this
// process. Processes may number GPUs differently (CUDA_VISIBLE_DEVICES); the library and the daemon mean the same one
// by its UUID. Ranks that share a GPU are processes of their own: kernels of one process can wait for each other's
// launches.
struct Device {
  // "host" or "cuda:N".
  std::string name = "host";

  // Shared memory of the machine.
  static Device Host() { return Device{"host"}; }
  // The GPU that cudaSetDevice(ordinal) chooses.
  static Device Cuda(int ordinal) { return Device{"cuda:" + std::to_string(ordinal)}; }
};

// One in-order stream of all-to-alls; in [0, channel_count) of the group. Two all-to-alls that may run at the same
// time need two channels, and every rank must use the same channel for the same all-to-all.
struct Channel {
  // The same on all ranks for the same all-to-all.
  int index = 0;
};

// A cudaStream_t on a GPU. On the host device it must be null: the calling thread does the work.
using Stream = void*;

// The layout of a 3-D view [outer, inner, row] of bytes. Its rows are numbered q in [0, outer_size * inner_size), and
// row q lies at (q / inner_size) * outer_stride_bytes + (q % inner_size) * inner_stride_bytes from the start of the
// view. The row_bytes bytes of a row are contiguous; any size and alignment works, 16-byte multiples are fastest.
//
// A transposed output [tokens, D, row] whose source j is column j is the view [D, capacity, row] with
// outer_stride_bytes = row_bytes and inner_stride_bytes = D * row_bytes: every source's rows are consecutive in q.
struct View {
  std::int64_t outer_size = 0;          // rows in the outer dimension
  std::int64_t inner_size = 0;          // rows in the inner dimension
  std::int64_t outer_stride_bytes = 0;  // from one index of the outer dimension to the next
  std::int64_t inner_stride_bytes = 0;  // from one index of the inner dimension to the next
  std::int64_t row_bytes = 0;           // of each row; equal on all ranks and in both views

  // rows[q] follows rows[q - 1] without a gap.
  static View Contiguous(std::int64_t rows, std::int64_t row_bytes) {
    return View{.outer_size = 1,
                .inner_size = rows,
                .outer_stride_bytes = rows * row_bytes,
                .inner_stride_bytes = row_bytes,
                .row_bytes = row_bytes};
  }
};

// The integer type of split and offset arrays.
enum class IndexType : std::uint8_t { kInt32, kInt64 };

// Arrays of world_size integers each, read when the all-to-all executes, in memory that the executing device reads.
// They must stay unchanged until it has ended. All count rows.
struct Splits {
  const void* input = nullptr;           // input[p] rows go to rank p
  const void* output = nullptr;          // output[p] rows come from rank p; must equal what p sends
  const void* input_offsets = nullptr;   // q of the first row for rank p; null: prefix sum of input
  const void* output_offsets = nullptr;  // q of the first row from rank p; null: prefix sum of output
  IndexType type = IndexType::kInt32;    // of all four arrays

  // Of arrays of std::int32_t.
  static Splits Int32(const std::int32_t* input, const std::int32_t* output,
                      const std::int32_t* input_offsets = nullptr, const std::int32_t* output_offsets = nullptr) {
    return Splits{input, output, input_offsets, output_offsets, IndexType::kInt32};
  }
  // Of arrays of std::int64_t.
  static Splits Int64(const std::int64_t* input, const std::int64_t* output,
                      const std::int64_t* input_offsets = nullptr, const std::int64_t* output_offsets = nullptr) {
    return Splits{input, output, input_offsets, output_offsets, IndexType::kInt64};
  }
};

}  // namespace a8a

#endif  // A8A_TYPES_H_
