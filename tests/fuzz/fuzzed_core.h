// A core on fake memory with small limits, so that an input of a few bytes reaches them, and a clock that only the
// target moves. What the core logs is checked.
#ifndef A8A_TESTS_FUZZ_FUZZED_CORE_H_
#define A8A_TESTS_FUZZ_FUZZED_CORE_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "daemon/core/core.h"
#include "daemon/log.h"
#include "tests/fakes/fake_memory_provider.h"

namespace a8a::fuzz {

class StoppedClock final : public daemon::Clock {
 public:
  [[nodiscard]] absl::Time Now() const override { return now_; }
  void Advance(absl::Duration duration) { now_ += duration; }

 private:
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
};

struct FuzzedCore {
  static constexpr std::int64_t kPoolLimitBytes = 1 << 20;

  StoppedClock clock;
  std::shared_ptr<daemon::FakeMemoryScript> script = std::make_shared<daemon::FakeMemoryScript>();
  std::unique_ptr<daemon::Core> core;

  FuzzedCore() {
    std::vector<std::unique_ptr<daemon::MemoryProvider>> providers;
    providers.push_back(Provider("host", daemon::DeviceKind::kHost));
    providers.push_back(Provider("cuda:0", daemon::DeviceKind::kCuda));
    const daemon::CorePolicy policy = {.user_memory = true};
    const daemon::CoreOptions options = {
        .session_max = 6, .group_max = 3, .buffer_max = 24, .ticket_max_per_session = 32, .policy = [policy] {
          return policy;
        }};
    core = std::make_unique<daemon::Core>(options, std::move(providers), &clock, [](const daemon::CoreEvent& event) {
      daemon::LogEvent(daemon::LogLevel::kInfo, event.name, event.fields);
    });
  }

 private:
  std::unique_ptr<daemon::MemoryProvider> Provider(const char* name, daemon::DeviceKind kind) {
    const daemon::DeviceInfo device = {
        .name = name, .kind = kind, .uuid = "", .granularity_bytes = 4096, .pool_limit_bytes = kPoolLimitBytes};
    return std::make_unique<daemon::FakeMemoryProvider>(device, script);
  }
};

}  // namespace a8a::fuzz

#endif  // A8A_TESTS_FUZZ_FUZZED_CORE_H_
