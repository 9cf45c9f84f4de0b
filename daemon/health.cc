#include "daemon/health.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "daemon/log.h"
#include "daemon/thread.h"
#include "grpc/health/v1/health.pb.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

constexpr char kDevicePrefix[] = "device/";
constexpr char kPartPrefix[] = "part/";
constexpr char kEverything[] = "all";
// Of a health interval: a fault that comes just after a check, and makes the next one hang, shows after a quarter, a
// half, and a quarter.
constexpr int kChecksPerInterval = 4;
constexpr int kTimeoutsPerInterval = 2;

}  // namespace

Health::Health(Deps deps) : deps_(std::move(deps)) {
  // Puts the description of grpc.health.v1 where server reflection finds it; gRPC's own implementation has none.
  google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
  const MutexLock lock(&mutex_);
  for (const DeviceInfo& device : deps_.core->Devices()) {
    AddPart({.name = absl::StrCat(kDevicePrefix, device.name),
             .check = [this, name = device.name](absl::Duration) { return CheckDevice(name); }});
  }
  for (const Part& part : deps_.parts) AddPart(part);
}

Health::~Health() { EndChecks(); }

void Health::AddPart(Part part) {
  PartHealth& health = parts_[part.name];
  health.check = std::move(part.check);
  health.checker =
      std::make_unique<Executor>(Executor::Options{.name = "a8a-probe", .thread_count = 1, .queue_max = 1});
}

absl::Status Health::Start(grpc::HealthCheckServiceInterface* service) {
  for (const auto& [name, part] : parts_) A8A_RETURN_IF_ERROR(part.checker->Start());
  {
    const MutexLock lock(&mutex_);
    service_ = service;
  }
  for (const auto& [name, part] : parts_) {
    if (absl::StartsWith(name, kDevicePrefix)) Check(name);
  }
  return absl::OkStatus();
}

absl::Status Health::BeginChecks() {
  A8A_ASSIGN_OR_RETURN(thread_, StartThread("a8a-health", [this] { Run(); }));
  return absl::OkStatus();
}

void Health::EndChecks() {
  {
    const MutexLock lock(&mutex_);
    ending_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
  const MutexLock lock(&mutex_);
  const auto under_way = [](const auto& part) {
    return !absl::StartsWith(part.first, kDevicePrefix) && part.second.began != absl::InfiniteFuture();
  };
  while (std::any_of(parts_.begin(), parts_.end(), under_way)) changed_.Wait(&mutex_);
}

void Health::Stop() {
  const MutexLock lock(&mutex_);
  service_ = nullptr;
}

void Health::Refresh() {
  // One after the other, so that the last one sets what is true; not under mutex_, see draining_.
  const MutexLock refreshing(&refresh_mutex_);
  const bool draining = deps_.core->draining();
  const MutexLock lock(&mutex_);
  draining_ = draining;
  Report();
}

void Health::BeginStop() {
  const MutexLock lock(&mutex_);
  stopping_ = true;
  Report();
}

bool Health::DeviceHealthy(absl::string_view device) const {
  const MutexLock lock(&mutex_);
  const auto part = parts_.find(absl::StrCat(kDevicePrefix, device));
  return part != parts_.end() && HealthyNow(part->second);
}

std::map<std::string, bool> Health::Serving() const {
  const MutexLock lock(&mutex_);
  return serving_;
}

absl::Status Health::CheckDevice(const std::string& device) const {
  A8A_RETURN_IF_ERROR(deps_.core->Provider(device)->Probe());
  for (const DeviceSnapshot& pool : deps_.core->Pools()) {
    const std::int64_t free_bytes = pool.device.pool_limit_bytes - pool.leased_bytes;
    if (pool.device.name != device || free_bytes >= pool.device.granularity_bytes) continue;
    return absl::ResourceExhaustedError(absl::StrCat("the pool is full: ", pool.leased_bytes, " bytes of its limit of ",
                                                     pool.device.pool_limit_bytes, " are leased, and a lease takes ",
                                                     pool.device.granularity_bytes));
  }
  return absl::OkStatus();
}

absl::Duration Health::Timeout() const { return deps_.settings->current()->health_interval / kTimeoutsPerInterval; }

void Health::Run() {
  const MutexLock lock(&mutex_);
  while (true) {
    const absl::Duration pause = deps_.settings->current()->health_interval / kChecksPerInterval;
    const auto next = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(pause);
    while (!ending_ && changed_.WaitUntil(&mutex_, next)) {
    }
    if (ending_) return;
    CheckAll();
    // A check that has been under way for too long makes its part unhealthy without ending.
    Report();
  }
}

void Health::CheckAll() {
  for (auto& [name, part] : parts_) {
    if (part.began != absl::InfiniteFuture()) continue;
    part.began = absl::Now();
    part.checker->SubmitAlways({.uid = Executor::kDaemon}, [this, part_name = name] { Check(part_name); });
  }
}

void Health::Check(const std::string& name) {
  PartHealth& part = parts_.find(name)->second;
  const absl::Status status = part.check(Timeout());
  {
    const MutexLock lock(&mutex_);
    part.last = status;
    part.began = absl::InfiniteFuture();
    Report();
  }
  changed_.NotifyAll();
}

bool Health::HealthyNow(const PartHealth& part) const {
  return part.last.ok() && absl::Now() - part.began <= Timeout();
}

bool Health::HasAll(const std::vector<std::string>& needs) const {
  return std::all_of(parts_.begin(), parts_.end(), [&](const auto& part) {
    const bool needed = std::any_of(needs.begin(), needs.end(),
                                    [&](const std::string& need) { return absl::StartsWith(part.first, need); });
    return !needed || HealthyNow(part.second);
  });
}

void Health::Set(const std::string& name, bool serving) {
  service_->SetServingStatus(name, serving);
  serving_[name.empty() ? kEverything : name] = serving;
}

void Health::LogChange(const std::string& name, PartHealth* part) {
  const bool healthy = HealthyNow(*part);
  if (healthy == part->reported_healthy) return;
  part->reported_healthy = healthy;
  absl::string_view what = name;
  const bool is_device = absl::ConsumePrefix(&what, kDevicePrefix);
  absl::ConsumePrefix(&what, kPartPrefix);
  const std::string reason = part->last.ok() ? (healthy ? "" : "probe hangs") : std::string(part->last.message());
  LogEvent(
      healthy ? LogLevel::kInfo : LogLevel::kError,
      is_device ? (healthy ? "device_healthy" : "device_unhealthy") : (healthy ? "part_healthy" : "part_unhealthy"),
      {{is_device ? "device" : "part", std::string(what)}, {"reason", reason}});
}

void Health::Report() {
  if (service_ == nullptr) return;
  const bool takes_work = !stopping_ && !draining_;
  bool all_healthy = true;
  for (auto& [name, part] : parts_) {
    LogChange(name, &part);
    all_healthy = all_healthy && part.reported_healthy;
    Set(name, part.reported_healthy && takes_work);
  }
  for (const Service& service : deps_.services) Set(service.full_name, HasAll(service.needs) && takes_work);
  Set("", all_healthy && takes_work);
}

}  // namespace a8a::daemon
