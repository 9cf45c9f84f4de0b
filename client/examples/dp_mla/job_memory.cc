#include "client/examples/dp_mla/job_memory.h"

#include <algorithm>
#include <new>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace a8a::dp_mla {
namespace {

constexpr std::size_t kAlignment = 64;

struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t(kAlignment)); }
};

class HostTensor final : public Tensor {
 public:
  explicit HostTensor(std::int64_t size_bytes)
      : owned_(static_cast<std::byte*>(
            ::operator new[](static_cast<std::size_t>(size_bytes), std::align_val_t(kAlignment)))),
        bytes_(owned_.get(), static_cast<std::size_t>(size_bytes)) {}
  explicit HostTensor(absl::Span<std::byte> bytes) : bytes_(bytes) {}

  [[nodiscard]] absl::Span<std::byte> host() override { return bytes_; }
  [[nodiscard]] std::byte* device() const override { return bytes_.data(); }
  [[nodiscard]] absl::Status Push() override { return absl::OkStatus(); }
  [[nodiscard]] absl::Status Pull() override { return absl::OkStatus(); }

 private:
  const std::unique_ptr<std::byte[], AlignedDelete> owned_;
  const absl::Span<std::byte> bytes_;
};

class HostJobMemory final : public JobMemory {
 public:
  [[nodiscard]] Device device() const override { return Device::Host(); }
  [[nodiscard]] Stream stream() const override { return nullptr; }
  [[nodiscard]] absl::Status Finish() const override { return absl::OkStatus(); }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Tensor>> NewTensor(std::int64_t size_bytes) const override {
    return std::make_unique<HostTensor>(size_bytes);
  }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Tensor>> Over(std::byte* device,
                                                             std::int64_t size_bytes) const override {
    return std::make_unique<HostTensor>(absl::MakeSpan(device, static_cast<std::size_t>(size_bytes)));
  }
};

std::string Names(absl::Span<const Device> devices) {
  return absl::StrJoin(devices, ", ", [](std::string* out, const Device& device) { out->append(device.name); });
}

}  // namespace

std::unique_ptr<const JobMemory> MakeHostJobMemory() { return std::make_unique<HostJobMemory>(); }

absl::StatusOr<std::unique_ptr<const JobMemory>> MakeJobMemory(absl::string_view backend, int rank,
                                                               absl::Span<const Device> devices) {
  const bool has_host = std::any_of(devices.begin(), devices.end(),
                                    [](const Device& device) { return device.name == Device::Host().name; });
  const bool has_cuda = std::any_of(devices.begin(), devices.end(),
                                    [](const Device& device) { return absl::StartsWith(device.name, "cuda:"); });
  if (has_host && backend != "cuda") return MakeHostJobMemory();
  if (has_cuda && backend != "host") return MakeCudaJobMemory(rank);
  return absl::FailedPreconditionError(absl::StrCat("--backend ", backend, ": the daemon offers [", Names(devices),
                                                    "]; start it with --backend ",
                                                    backend == "auto" ? "host" : backend));
}

}  // namespace a8a::dp_mla
