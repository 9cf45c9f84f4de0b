#include "tests/fakes/fake_memory_provider.h"

#include <utility>

#include "daemon/memory/shared_memory.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {

class FakeAllocation final : public Allocation {
 public:
  FakeAllocation(UniqueFd fd, std::int64_t size_bytes, std::shared_ptr<FakeMemoryScript> script)
      : fd_(std::move(fd)), size_bytes_(size_bytes), script_(std::move(script)) {
    ++script_->live_count_;
    script_->live_bytes_ += size_bytes_;
  }
  ~FakeAllocation() override {
    --script_->live_count_;
    script_->live_bytes_ -= size_bytes_;
  }

  [[nodiscard]] int fd() const override { return fd_.get(); }
  [[nodiscard]] std::int64_t size_bytes() const override { return size_bytes_; }
  [[nodiscard]] FileId file_id() const override { return SharedMemoryId(fd_.get()); }

 private:
  const UniqueFd fd_;
  const std::int64_t size_bytes_;
  const std::shared_ptr<FakeMemoryScript> script_;
};

void FakeMemoryScript::FailAllocations(int count, const absl::Status& status, int skip) {
  const MutexLock lock(&mutex_);
  fail_count_ = count;
  fail_skip_ = skip;
  allocation_status_ = status;
}

void FakeMemoryScript::FailProbes(const absl::Status& status) {
  const MutexLock lock(&mutex_);
  probe_status_ = status;
}

void FakeMemoryScript::OnAllocate(std::function<void()> hook) {
  const MutexLock lock(&mutex_);
  on_allocate_ = std::move(hook);
}

absl::Status FakeMemoryScript::NextAllocation() {
  std::function<void()> hook;
  absl::Status status;
  {
    const MutexLock lock(&mutex_);
    hook = on_allocate_;
    if (fail_skip_ > 0) {
      --fail_skip_;
    } else if (fail_count_ > 0) {
      --fail_count_;
      status = allocation_status_;
    }
  }
  if (hook) hook();
  return status;
}

FakeMemoryProvider::FakeMemoryProvider(DeviceInfo device, std::shared_ptr<FakeMemoryScript> script)
    : device_(std::move(device)), script_(std::move(script)) {}

absl::StatusOr<std::unique_ptr<Allocation>> FakeMemoryProvider::Allocate(std::int64_t size_bytes,
                                                                         absl::string_view name) {
  A8A_RETURN_IF_ERROR(script_->NextAllocation());
  A8A_ASSIGN_OR_RETURN(UniqueFd fd, CreateSharedMemory(std::string(name), size_bytes, /*memfd_flags=*/0));
  return std::make_unique<FakeAllocation>(std::move(fd), size_bytes, script_);
}

absl::StatusOr<std::unique_ptr<Allocation>> FakeMemoryProvider::Adopt(UniqueFd* fd, std::int64_t size_bytes,
                                                                      FileId file) {
  A8A_RETURN_IF_ERROR(CheckSharedMemory(fd->get(), size_bytes, file));
  return std::make_unique<FakeAllocation>(std::move(*fd), size_bytes, script_);
}

absl::Status FakeMemoryProvider::Probe() {
  {
    const MutexLock lock(&script_->mutex_);
    A8A_RETURN_IF_ERROR(script_->probe_status_);
  }
  return Allocate(device_.granularity_bytes, "probe").status();
}

}  // namespace a8a::daemon
