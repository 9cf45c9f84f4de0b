#include "tests/gpu/device_case.h"

#include <cuda_runtime_api.h>

#include <array>
#include <cstring>

namespace a8a::kernels::test {
namespace {

constexpr std::size_t kArrayBytes = kMaxWorldSize * sizeof(std::int64_t);

std::int64_t ExtentOf(const RowLayout& layout) {
  if (layout.outer_size == 0 || layout.inner_size == 0) return 0;
  return (layout.outer_size - 1) * layout.outer_stride_bytes + (layout.inner_size - 1) * layout.inner_stride_bytes +
         layout.row_bytes;
}

const void* PutArray(const std::vector<std::int64_t>& values, IndexType type, std::byte* at) {
  if (values.empty()) return nullptr;
  const std::size_t width = type == IndexType::kInt32 ? sizeof(std::int32_t) : sizeof(std::int64_t);
  std::array<std::byte, kArrayBytes> bytes = {};
  // Little-endian: the low half is the int32.
  for (std::size_t i = 0; i < values.size(); ++i) std::memcpy(bytes.data() + i * width, &values[i], width);
  A8A_CUDA(cudaMemcpy(at, bytes.data(), values.size() * width, cudaMemcpyHostToDevice));
  // From pageable memory it may return before the bytes are on the device, and other streams do not wait for it.
  A8A_CUDA(cudaStreamSynchronize(cudaStreamLegacy));
  return at;
}

}  // namespace

DeviceBuffer::DeviceBuffer(std::size_t size_bytes) {
  void* data = nullptr;
  A8A_CUDA(cudaMalloc(&data, size_bytes == 0 ? 1 : size_bytes));
  data_ = static_cast<std::byte*>(data);
}

DeviceBuffer::~DeviceBuffer() { A8A_CUDA(cudaFree(data_)); }

DeviceCase::DeviceCase(const RankCase& rank_case, const GpuGroup& group, int channel)
    : case_(rank_case),
      group_(group.view()),
      channel_(channel),
      host_input_(static_cast<std::size_t>(ExtentOf(rank_case.input_layout))),
      input_(host_input_.size() + rank_case.misalign_bytes),
      arrays_(4 * kArrayBytes) {
  const IndexType type = case_.index_type;
  splits_.input = PutArray(case_.input_splits, type, arrays_.get());
  splits_.output = PutArray(case_.output_splits, type, arrays_.get() + kArrayBytes);
  splits_.input_offsets = PutArray(case_.input_offsets, type, arrays_.get() + 2 * kArrayBytes);
  splits_.output_offsets = PutArray(case_.output_offsets, type, arrays_.get() + 3 * kArrayBytes);
  splits_.type = type;
}

const std::byte* DeviceCase::FillInput(int round, cuda::Stream stream) {
  for (std::size_t i = 0; i < host_input_.size(); ++i) {
    host_input_[i] = InputByte(group_.rank, round, static_cast<std::int64_t>(i));
  }
  std::byte* input = input_.get() + case_.misalign_bytes;
  A8A_CUDA(cudaMemcpyAsync(input, host_input_.data(), host_input_.size(), cudaMemcpyHostToDevice, stream));
  return input;
}

AllToAllParams DeviceCase::Params(const WindowView& window) const {
  return {.group = &group_,
          .window = &window,
          .channel = channel_,
          .input = input_.get() + case_.misalign_bytes,
          .input_layout = case_.input_layout,
          .output_offset_bytes = case_.output_offset_bytes,
          .output_layout = case_.output_layout,
          .splits = splits_,
          .timeout_ns = kLongTimeoutNs};
}

WindowView SizedWindow(const GpuGroup& group, int index, const Case& a_case) {
  WindowView window = group.window(index);
  for (int rank = 0; rank < group.world_size(); ++rank) {
    window.size_bytes[static_cast<std::size_t>(rank)] = a_case.ranks[static_cast<std::size_t>(rank)].window_bytes;
  }
  return window;
}

void Poison(std::byte* memory, std::int64_t size_bytes, cuda::Stream stream) {
  A8A_CUDA(cudaMemsetAsync(memory, static_cast<int>(kPoison), static_cast<std::size_t>(size_bytes), stream));
}

std::vector<std::byte> ReadBack(const std::byte* memory, std::int64_t size_bytes, cuda::Stream stream) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(size_bytes));
  A8A_CUDA(cudaMemcpyAsync(bytes.data(), memory, bytes.size(), cudaMemcpyDeviceToHost, stream));
  A8A_CUDA(cudaStreamSynchronize(stream));
  return bytes;
}

}  // namespace a8a::kernels::test
