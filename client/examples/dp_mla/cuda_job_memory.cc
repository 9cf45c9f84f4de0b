#include <cuda_runtime_api.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/examples/dp_mla/job_memory.h"
#include "kernels/base/status_macros.h"

namespace a8a::dp_mla {
namespace {

absl::Status ToStatus(cudaError_t error, absl::string_view doing) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string text = absl::StrCat(doing, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
  return error == cudaErrorMemoryAllocation ? absl::ResourceExhaustedError(text) : absl::FailedPreconditionError(text);
}

struct CudaFree {
  void operator()(std::byte* bytes) const { static_cast<void>(cudaFree(bytes)); }
};

class CudaTensor final : public Tensor {
 public:
  CudaTensor(cudaStream_t stream, std::byte* device, std::int64_t size_bytes,
             std::unique_ptr<std::byte, CudaFree> owned)
      : stream_(stream), owned_(std::move(owned)), device_(device), host_(static_cast<std::size_t>(size_bytes)) {}

  [[nodiscard]] absl::Span<std::byte> host() override { return absl::MakeSpan(host_); }
  [[nodiscard]] std::byte* device() const override { return device_; }
  [[nodiscard]] absl::Status Push() override { return Copy(device_, host_.data(), "copying to the GPU"); }
  [[nodiscard]] absl::Status Pull() override { return Copy(host_.data(), device_, "copying from the GPU"); }

 private:
  // On the stream of the all-to-alls: a copy on another would not wait for them, nor they for it.
  [[nodiscard]] absl::Status Copy(void* to, const void* from, absl::string_view doing) const {
    A8A_RETURN_IF_ERROR(ToStatus(cudaMemcpyAsync(to, from, host_.size(), cudaMemcpyDefault, stream_), doing));
    return ToStatus(cudaStreamSynchronize(stream_), doing);
  }

  const cudaStream_t stream_;
  const std::unique_ptr<std::byte, CudaFree> owned_;
  std::byte* const device_;
  std::vector<std::byte> host_;
};

class CudaJobMemory final : public JobMemory {
 public:
  CudaJobMemory(int ordinal, cudaStream_t stream) : ordinal_(ordinal), stream_(stream) {}
  ~CudaJobMemory() override { static_cast<void>(cudaStreamDestroy(stream_)); }
  CudaJobMemory(const CudaJobMemory&) = delete;
  CudaJobMemory& operator=(const CudaJobMemory&) = delete;

  [[nodiscard]] Device device() const override { return Device::Cuda(ordinal_); }
  [[nodiscard]] Stream stream() const override { return stream_; }
  [[nodiscard]] absl::Status Finish() const override {
    return ToStatus(cudaStreamSynchronize(stream_), "waiting for the stream");
  }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Tensor>> NewTensor(std::int64_t size_bytes) const override {
    void* bytes = nullptr;
    A8A_RETURN_IF_ERROR(ToStatus(cudaMalloc(&bytes, static_cast<std::size_t>(size_bytes)), "allocating a tensor"));
    auto* const device = static_cast<std::byte*>(bytes);
    return std::make_unique<CudaTensor>(stream_, device, size_bytes, std::unique_ptr<std::byte, CudaFree>(device));
  }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Tensor>> Over(std::byte* device,
                                                             std::int64_t size_bytes) const override {
    return std::make_unique<CudaTensor>(stream_, device, size_bytes, nullptr);
  }

 private:
  const int ordinal_;
  const cudaStream_t stream_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<const JobMemory>> MakeCudaJobMemory(int rank) {
  int count = 0;
  A8A_RETURN_IF_ERROR(ToStatus(cudaGetDeviceCount(&count), "looking for GPUs"));
  const int ordinal = rank % count;
  A8A_RETURN_IF_ERROR(ToStatus(cudaSetDevice(ordinal), absl::StrCat("choosing GPU ", ordinal)));
  cudaStream_t stream = nullptr;
  A8A_RETURN_IF_ERROR(ToStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream"));
  return std::make_unique<CudaJobMemory>(ordinal, stream);
}

}  // namespace a8a::dp_mla
