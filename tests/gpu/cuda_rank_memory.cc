// Rank r on device r modulo the number of devices.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/base/status_macros.h"
#include "tests/integration/lives/rank_memory.h"

namespace a8a::testing {
namespace {

absl::Status ToStatus(cudaError_t error, absl::string_view doing) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(doing, ": ", cudaGetErrorName(error)));
}

class CudaRankMemory final : public RankMemory {
 public:
  CudaRankMemory(int ordinal, cudaStream_t stream, std::byte* rows, std::int32_t* splits, char* seen,
                 std::size_t size_bytes)
      : ordinal_(ordinal), stream_(stream), rows_(rows), splits_(splits), seen_(seen), size_bytes_(size_bytes) {}
  ~CudaRankMemory() override {
    cudaFree(rows_);
    cudaFree(splits_);
    cudaFreeHost(seen_);
    cudaStreamDestroy(stream_);
  }
  CudaRankMemory(const CudaRankMemory&) = delete;
  CudaRankMemory& operator=(const CudaRankMemory&) = delete;

  [[nodiscard]] Device device() const override { return Device::Cuda(ordinal_); }
  [[nodiscard]] Stream stream() const override { return stream_; }
  [[nodiscard]] std::byte* rows() override { return rows_; }
  [[nodiscard]] const std::int32_t* splits() const override { return splits_; }
  [[nodiscard]] absl::Status Fill(char byte) override {
    return ToStatus(cudaMemsetAsync(rows_, byte, size_bytes_, stream_), "filling the rows");
  }
  [[nodiscard]] absl::Status Finish(Group* group, const absl::Status& launched) override {
    A8A_RETURN_IF_ERROR(launched);
    A8A_RETURN_IF_ERROR(ToStatus(cudaStreamSynchronize(stream_), "waiting for the all-to-all"));
    return group->CheckStatus(Channel{0});
  }
  [[nodiscard]] absl::StatusOr<const char*> Read(const std::byte* window) override {
    A8A_RETURN_IF_ERROR(
        ToStatus(cudaMemcpyAsync(seen_, window, size_bytes_, cudaMemcpyDeviceToHost, stream_), "reading"));
    A8A_RETURN_IF_ERROR(ToStatus(cudaStreamSynchronize(stream_), "reading"));
    return seen_;
  }

 private:
  const int ordinal_;
  const cudaStream_t stream_;
  std::byte* const rows_;
  std::int32_t* const splits_;
  char* const seen_;
  const std::size_t size_bytes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RankMemory>> RankMemory::Create(int rank, int world_size, std::size_t row_bytes) {
  int count = 0;
  A8A_RETURN_IF_ERROR(ToStatus(cudaGetDeviceCount(&count), "looking for devices"));
  if (count < 1) return absl::FailedPreconditionError("there is no CUDA device here");
  const int ordinal = rank % count;
  cudaStream_t stream = nullptr;
  const std::vector<std::int32_t> ones(static_cast<std::size_t>(world_size), 1);
  const std::size_t size_bytes = ones.size() * row_bytes;
  void* rows = nullptr;
  void* splits = nullptr;
  void* seen = nullptr;
  A8A_RETURN_IF_ERROR(ToStatus(cudaSetDevice(ordinal), "taking a device"));
  A8A_RETURN_IF_ERROR(ToStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  A8A_RETURN_IF_ERROR(ToStatus(cudaMalloc(&rows, size_bytes), "allocating rows"));
  A8A_RETURN_IF_ERROR(ToStatus(cudaMalloc(&splits, ones.size() * sizeof(ones[0])), "allocating splits"));
  A8A_RETURN_IF_ERROR(ToStatus(cudaMemcpy(splits, ones.data(), ones.size() * sizeof(ones[0]), cudaMemcpyHostToDevice),
                               "copying splits"));
  A8A_RETURN_IF_ERROR(ToStatus(cudaMallocHost(&seen, size_bytes), "allocating host memory"));
  return std::make_unique<CudaRankMemory>(ordinal, stream, static_cast<std::byte*>(rows),
                                          static_cast<std::int32_t*>(splits), static_cast<char*>(seen), size_bytes);
}

}  // namespace a8a::testing
