#include "daemon/health.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/log.h"
#include "grpc/health/v1/health.pb.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {

Health::Health(Deps deps) : deps_(std::move(deps)) {
  // Puts the description of grpc.health.v1 where server reflection finds it; gRPC's own implementation has none.
  google::protobuf::LinkMessageReflection<grpc::health::v1::HealthCheckRequest>();
  const MutexLock lock(&mutex_);
  for (const DeviceInfo& device : deps_.core->Devices()) {
    devices_[device.name] = DeviceHealth();
    probers_[device.name] =
        std::make_unique<Executor>(Executor::Options{.name = "a8a-probe", .thread_count = 1, .queue_max = 1});
  }
}

absl::Status Health::Start(grpc::HealthCheckServiceInterface* service) {
  for (const auto& [name, prober] : probers_) A8A_RETURN_IF_ERROR(prober->Start());
  {
    const MutexLock lock(&mutex_);
    service_ = service;
  }
  for (const DeviceInfo& device : deps_.core->Devices()) Probe(device.name);
  ScheduleNext();
  return absl::OkStatus();
}

void Health::Stop() {
  const MutexLock lock(&mutex_);
  service_ = nullptr;
}

void Health::Refresh() {
  const MutexLock lock(&mutex_);
  Report();
}

void Health::BeginStop() {
  const MutexLock lock(&mutex_);
  stopping_ = true;
  Report();
}

bool Health::DeviceHealthy(absl::string_view device) const {
  const MutexLock lock(&mutex_);
  const auto entry = devices_.find(std::string(device));
  return entry != devices_.end() && HealthyNow(entry->second);
}

void Health::ScheduleNext() {
  deps_.timers->After(deps_.settings->current()->health_interval, [this] { ProbeAll(); });
}

void Health::ProbeAll() {
  {
    const MutexLock lock(&mutex_);
    if (service_ == nullptr) return;
    for (auto& [name, device] : devices_) {
      if (device.probe_began != absl::InfiniteFuture()) continue;
      device.probe_began = absl::Now();
      probers_.at(name)->SubmitAlways({.uid = Executor::kDaemon}, [this, device_name = name] { Probe(device_name); });
    }
    // A probe that has been under way for too long makes its device unhealthy without ending.
    Report();
  }
  ScheduleNext();
}

void Health::Probe(const std::string& device) {
  const absl::Status status = deps_.core->Provider(device)->Probe();
  const MutexLock lock(&mutex_);
  DeviceHealth& health = devices_.find(device)->second;
  health.last = status;
  health.probe_began = absl::InfiniteFuture();
  Report();
}

bool Health::HealthyNow(const DeviceHealth& device) const {
  const absl::Duration patience = 2 * deps_.settings->current()->health_interval;
  return device.last.ok() && absl::Now() - device.probe_began <= patience;
}

void Health::Report() {
  if (service_ == nullptr) return;
  const bool draining = stopping_ || deps_.core->draining();
  bool all_serving = !draining;
  for (auto& [name, device] : devices_) {
    const bool healthy = HealthyNow(device);
    all_serving = all_serving && healthy;
    service_->SetServingStatus(absl::StrCat("device/", name), healthy && !draining);
    if (healthy == device.reported_healthy) continue;
    device.reported_healthy = healthy;
    LogEvent(healthy ? LogLevel::kInfo : LogLevel::kError, healthy ? "device_healthy" : "device_unhealthy",
             {{"device", name}, {"reason", device.last.ok() ? "probe hangs" : std::string(device.last.message())}});
  }
  for (const std::string& service : deps_.services) service_->SetServingStatus(service, all_serving);
  service_->SetServingStatus("", all_serving);
}

}  // namespace a8a::daemon
