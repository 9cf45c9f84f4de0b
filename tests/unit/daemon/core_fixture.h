// A core over fake memory with a clock that the test owns, and shorthands for its callers.
#ifndef A8A_TESTS_UNIT_DAEMON_CORE_FIXTURE_H_
#define A8A_TESTS_UNIT_DAEMON_CORE_FIXTURE_H_

#include <sys/mman.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/core/core.h"
#include "gtest/gtest.h"
#include "kernels/base/mutex.h"
#include "kernels/include/control_layout.h"
#include "tests/fakes/fake_memory_provider.h"
#include "tests/support/status_matchers.h"

namespace a8a::daemon {

inline constexpr std::int64_t kGranularity = 4096;
inline constexpr std::int64_t kPoolLimit = 64 << 20;

class ManualClock final : public Clock {
 public:
  [[nodiscard]] absl::Time Now() const override { return absl::UnixEpoch() + absl::Nanoseconds(now_ns_.load()); }
  void Advance(absl::Duration duration) { now_ns_ += absl::ToInt64Nanoseconds(duration); }

 private:
  std::atomic<std::int64_t> now_ns_ = 1'000'000'000;
};

// Keeps the events of a session.
class RecordingSink final : public EventSink {
 public:
  void Send(SessionEvent event) override {
    const MutexLock lock(&mutex_);
    events_.push_back(std::move(event));
  }
  [[nodiscard]] std::vector<SessionEvent> All() const {
    const MutexLock lock(&mutex_);
    return events_;
  }
  template <typename T>
  [[nodiscard]] std::vector<T> Events() const {
    const MutexLock lock(&mutex_);
    std::vector<T> found;
    for (const SessionEvent& event : events_) {
      if (const T* match = std::get_if<T>(&event)) found.push_back(*match);
    }
    return found;
  }

 private:
  mutable Mutex mutex_;
  std::vector<SessionEvent> events_ ABSL_GUARDED_BY(mutex_);
};

// What a callback of JoinGroup or RegisterWindow got.
template <typename Grant>
struct Waiting {
  std::shared_ptr<std::optional<absl::StatusOr<Grant>>> result =
      std::make_shared<std::optional<absl::StatusOr<Grant>>>();
  std::uint64_t pending_id = 0;

  [[nodiscard]] bool done() const { return result->has_value(); }
  [[nodiscard]] absl::Status status() const {
    return done() ? (*result)->status() : absl::UnknownError("the call still waits");
  }
  [[nodiscard]] const Grant& grant() const { return ***result; }
};

struct Attached {
  Caller caller;
  std::uint64_t id = 0;
  std::shared_ptr<RecordingSink> sink;
};

class CoreFixture : public testing::Test {
 protected:
  static DeviceInfo FakeDevice(const std::string& name = "host", DeviceKind kind = DeviceKind::kHost) {
    return {.name = name, .kind = kind, .uuid = "", .granularity_bytes = kGranularity, .pool_limit_bytes = kPoolLimit};
  }

  void MakeCore(const CoreOptions& options = {}) {
    std::vector<std::unique_ptr<MemoryProvider>> providers;
    providers.push_back(std::make_unique<FakeMemoryProvider>(FakeDevice(), script_));
    providers.push_back(std::make_unique<FakeMemoryProvider>(FakeDevice("cuda:0", DeviceKind::kCuda), script_));
    core_ = std::make_unique<Core>(options, std::move(providers), &clock_, nullptr);
  }
  void SetUp() override { MakeCore(); }
  void TearDown() override {
    core_.reset();
    EXPECT_EQ(script_->live_count(), 0) << "an allocation outlived the core";
  }

  static Caller Process(std::int32_t pid, std::uint32_t uid = 1000) {
    return {.identity = {.uid = uid, .gid = uid, .pid = pid}, .administrator = false};
  }
  static Caller Administrator() { return {.identity = {.uid = 0, .gid = 0, .pid = 1}, .administrator = true}; }

  Attached Attach(std::int32_t pid, std::uint32_t uid = 1000) {
    Attached session = {.caller = Process(pid, uid), .sink = std::make_shared<RecordingSink>()};
    const auto info = core_->Attach(session.caller, "test", session.sink);
    EXPECT_THAT(info, IsOk());
    if (info.ok()) session.id = info->session_id;
    return session;
  }
  std::vector<Attached> AttachMany(int count) {
    std::vector<Attached> sessions;
    for (int i = 0; i < count; ++i) sessions.push_back(Attach(100 + i));
    return sessions;
  }

  Waiting<JoinGrant> Join(const Attached& session, const JoinOptions& options) {
    Waiting<JoinGrant> call;
    call.pending_id = core_->JoinGroup(session.caller, session.id, options,
                                       [result = call.result](auto grant) { *result = std::move(grant); });
    return call;
  }
  static JoinOptions RankOf(int rank, int world_size, const std::string& name = "tp") {
    return {.name = name, .rank = rank, .world_size = world_size, .channel_count = 2, .device = "host", .secret = "s"};
  }
  // All join; returns the group's id.
  std::uint64_t FormGroup(const std::vector<Attached>& sessions, const std::string& name = "tp") {
    const int world_size = static_cast<int>(sessions.size());
    Waiting<JoinGrant> last;
    for (int rank = 0; rank < world_size; ++rank) {
      last = Join(sessions[static_cast<std::size_t>(rank)], RankOf(rank, world_size, name));
    }
    EXPECT_THAT(last.status(), IsOk());
    return last.status().ok() ? last.grant().group.group_id : 0;
  }

  Waiting<WindowGrant> Register(const Attached& session, std::uint64_t group_id, const WindowOptions& options) {
    Waiting<WindowGrant> call;
    call.pending_id = core_->RegisterWindow(session.caller, session.id, group_id, options,
                                            [result = call.result](auto grant) { *result = std::move(grant); });
    return call;
  }
  Waiting<WindowGrant> Register(const Attached& session, std::uint64_t group_id, const std::string& name,
                                std::int64_t size_bytes) {
    return Register(session, group_id, {.name = name, .size_bytes = size_bytes});
  }
  int FormWindow(const std::vector<Attached>& sessions, std::uint64_t group_id, const std::string& name,
                 std::int64_t size_bytes) {
    Waiting<WindowGrant> last;
    for (const Attached& session : sessions) last = Register(session, group_id, name, size_bytes);
    EXPECT_THAT(last.status(), IsOk());
    return last.status().ok() ? last.grant().window_index : -1;
  }

  // The control segment of a ready group, as a rank sees it. The mapping is left to the end of the process.
  kernels::GroupControl* MapControl(const Attached& session, const TicketGrant& ticket) {
    const auto redeemed = core_->RedeemTicket(session.caller.identity, session.id, ticket.value);
    if (!redeemed.ok()) return nullptr;
    void* base = mmap(nullptr, static_cast<std::size_t>(redeemed->size_bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                      redeemed->fd.get(), 0);
    return base == MAP_FAILED ? nullptr : static_cast<kernels::GroupControl*>(base);
  }

  [[nodiscard]] CoreSnapshot Everything() const { return core_->Snapshot(Administrator(), 0); }
  [[nodiscard]] std::int64_t LeasedBytes() const { return Everything().devices[0].leased_bytes; }
  [[nodiscard]] std::int64_t SessionBytes(const Attached& session) const {
    for (const SessionSnapshot& snapshot : Everything().sessions) {
      if (snapshot.session.session_id == session.id) return snapshot.leased_bytes;
    }
    return -1;
  }

  ManualClock clock_;
  std::shared_ptr<FakeMemoryScript> script_ = std::make_shared<FakeMemoryScript>();
  std::unique_ptr<Core> core_;
};

}  // namespace a8a::daemon

#endif  // A8A_TESTS_UNIT_DAEMON_CORE_FIXTURE_H_
