// A MemoryProvider that behaves: real shared memory, plus a script of failures. Shows that nothing above the seam
// depends on the host provider.
//
// Thread-safe. The script is shared with the test through FakeMemoryScript, which outlives the provider.
#ifndef A8A_TESTS_FAKES_FAKE_MEMORY_PROVIDER_H_
#define A8A_TESTS_FAKES_FAKE_MEMORY_PROVIDER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/memory/memory_provider.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class FakeMemoryScript {
 public:
  // The next `count` allocations after `skip` successful ones fail with `status`.
  void FailAllocations(int count, const absl::Status& status, int skip = 0);
  void FailProbes(const absl::Status& status);
  // Called at the start of every allocation, without any lock of the fake: may block, or call into the code under test.
  void OnAllocate(std::function<void()> hook);

  [[nodiscard]] int live_count() const { return live_count_.load(); }
  [[nodiscard]] std::int64_t live_bytes() const { return live_bytes_.load(); }

 private:
  friend class FakeMemoryProvider;
  friend class FakeAllocation;

  [[nodiscard]] absl::Status NextAllocation();

  Mutex mutex_;
  int fail_skip_ ABSL_GUARDED_BY(mutex_) = 0;
  int fail_count_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status allocation_status_ ABSL_GUARDED_BY(mutex_);
  absl::Status probe_status_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_allocate_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int> live_count_ = 0;
  std::atomic<std::int64_t> live_bytes_ = 0;
};

class FakeMemoryProvider final : public MemoryProvider {
 public:
  FakeMemoryProvider(DeviceInfo device, std::shared_ptr<FakeMemoryScript> script);

  [[nodiscard]] const DeviceInfo& device() const override { return device_; }
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Allocation>> Allocate(std::int64_t size_bytes,
                                                                     absl::string_view name) override;
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Allocation>> Adopt(UniqueFd* fd, std::int64_t size_bytes,
                                                                  FileId file) override;
  [[nodiscard]] absl::Status Probe() override;

 private:
  const DeviceInfo device_;
  const std::shared_ptr<FakeMemoryScript> script_;
};

}  // namespace a8a::daemon

#endif  // A8A_TESTS_FAKES_FAKE_MEMORY_PROVIDER_H_
