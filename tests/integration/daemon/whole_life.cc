#include "tests/integration/daemon/whole_life.h"

#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace a8a::testing {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

class WholeLife {
 public:
  WholeLife(const DaemonProcess& daemon, std::string device)
      : daemon_(daemon), device_(std::move(device)), client_(daemon.grpc_address()) {}

  Outcome Live() {
    const std::pair<const char*, grpc::Status (WholeLife::*)()> steps[] = {
        {"connect", &WholeLife::Connect},
        {"attach", &WholeLife::Attach},
        {"register", &WholeLife::RegisterBuffer},
        {"redeem", &WholeLife::RedeemBuffer},
        {"release", &WholeLife::ReleaseBuffer},
        {"join", &WholeLife::Join},
        {"window", &WholeLife::RegisterWindow},
        {"redeem window", &WholeLife::RedeemWindow},
        {"leave", &WholeLife::Leave},
        {"malformed", &WholeLife::SendMalformed},
        {"reload", &WholeLife::Reload},
    };
    Outcome outcome;
    for (const auto& [name, step] : steps) {
      outcome = {name, (this->*step)()};
      if (!outcome.status.ok()) break;
    }
    const grpc::Status goodbye = session_ != nullptr && session_->id() != 0 ? session_->Goodbye() : grpc::Status();
    if (!outcome.status.ok()) return outcome;
    return goodbye.ok() ? Outcome() : Outcome{"goodbye", goodbye};
  }

 private:
  grpc::Status Connect() {
    v1::GetStatsResponse response;
    return Call(client_.stat.get(), &v1::StatService::Stub::GetStats, v1::GetStatsRequest(), &response);
  }
  grpc::Status Attach() {
    session_ = client_.Attach();
    return session_->id() != 0 ? grpc::Status() : session_->Finish();
  }
  grpc::Status RegisterBuffer() {
    v1::RegisterBufferRequest request;
    request.set_session_id(session_->id());
    request.set_device(device_);
    request.set_size_bytes(kMiB);
    return Call(client_.buffer.get(), &v1::BufferService::Stub::RegisterBuffer, request, &buffer_);
  }
  grpc::Status RedeemBuffer() { return Redeem(buffer_.ticket()); }
  grpc::Status ReleaseBuffer() {
    v1::ReleaseBufferRequest request;
    v1::ReleaseBufferResponse response;
    request.set_session_id(session_->id());
    request.set_buffer_id(buffer_.buffer().buffer_id());
    request.set_generation(buffer_.buffer().generation());
    return Call(client_.buffer.get(), &v1::BufferService::Stub::ReleaseBuffer, request, &response);
  }
  grpc::Status Join() {
    v1::JoinGroupRequest request;
    request.set_session_id(session_->id());
    request.set_name("alone");
    request.set_world_size(1);
    request.set_device(device_);
    return Call(client_.group.get(), &v1::GroupService::Stub::JoinGroup, request, &group_);
  }
  grpc::Status RegisterWindow() {
    v1::RegisterWindowRequest request;
    request.set_session_id(session_->id());
    request.set_group_id(group_.group().group_id());
    request.set_name("window");
    request.set_size_bytes(kMiB);
    return Call(client_.group.get(), &v1::GroupService::Stub::RegisterWindow, request, &window_);
  }
  grpc::Status RedeemWindow() { return Redeem(window_.buffers(0).ticket()); }
  grpc::Status Leave() {
    v1::LeaveGroupRequest request;
    v1::LeaveGroupResponse response;
    request.set_session_id(session_->id());
    request.set_group_id(group_.group().group_id());
    return Call(client_.group.get(), &v1::GroupService::Stub::LeaveGroup, request, &response);
  }
  grpc::Status SendMalformed() {
    const FdClient fds(daemon_.fd_socket_path());
    fds.Send("x", 1);
    const grpc::Status status = ToStatus(fds.Receive());
    return status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ? grpc::Status() : status;
  }
  grpc::Status Reload() {
    v1::ReloadConfigResponse response;
    return Call(client_.admin.get(), &v1::AdminService::Stub::ReloadConfig, v1::ReloadConfigRequest(), &response);
  }

  grpc::Status Redeem(const v1::Ticket& ticket) {
    const FdClient fds(daemon_.fd_socket_path());
    return ToStatus(fds.Redeem(session_->id(), ticket));
  }
  static grpc::Status ToStatus(const std::optional<FdClient::Reply>& reply) {
    if (!reply.has_value()) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "fd.sock was closed without a reply");
    return grpc::Status(static_cast<grpc::StatusCode>(reply->reply.code), reply->reply.message);
  }

  const DaemonProcess& daemon_;
  const std::string device_;
  const DaemonClient client_;
  std::unique_ptr<Session> session_;
  v1::RegisterBufferResponse buffer_;
  v1::JoinGroupResponse group_;
  v1::RegisterWindowResponse window_;
};

// What a descriptor refers to, by kind.
std::string KindOf(const std::filesystem::path& descriptor) {
  std::error_code closed_meanwhile;
  const std::string target = std::filesystem::read_symlink(descriptor, closed_meanwhile);
  if (absl::StartsWith(target, "socket:")) return "sockets";
  if (absl::StartsWith(target, "/memfd:")) return "memfds";
  if (absl::StrContains(target, "pidfd")) return "pidfds";
  return absl::StrContains(target, "[event") ? "event descriptors" : "other descriptors";
}

std::map<std::string, long> CountDescriptors(pid_t pid) {
  std::map<std::string, long> counts;
  for (const auto& descriptor : std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/fd"))) {
    ++counts[KindOf(descriptor.path())];
  }
  return counts;
}

long CountMemfdMappings(pid_t pid) {
  std::ifstream maps(absl::StrCat("/proc/", pid, "/maps"));
  long count = 0;
  for (std::string line; std::getline(maps, line);) count += absl::StrContains(line, "/memfd:") ? 1 : 0;
  return count;
}

}  // namespace

Outcome LiveWholeLife(const DaemonProcess& daemon, const std::string& device) {
  return WholeLife(daemon, device).Live();
}

std::map<std::string, long> Footprint(const DaemonProcess& daemon, const DaemonClient& client) {
  // First: it may make the client's connection.
  const v1::Stats stats = client.Stats();
  std::map<std::string, long> footprint = CountDescriptors(daemon.pid());
  footprint.erase("pidfds");
  footprint.erase("event descriptors");
  footprint["memfds"] += 0;
  footprint["memfd mappings"] = CountMemfdMappings(daemon.pid());
  footprint["sessions"] = stats.sessions_size();
  footprint["groups"] = stats.groups_size();
  for (const v1::DeviceStats& device : stats.devices()) {
    footprint["leases"] += device.lease_count();
    footprint["leased bytes"] += device.leased_bytes();
  }
  return footprint;
}

int CountPidfds(pid_t pid) { return static_cast<int>(CountDescriptors(pid)["pidfds"]); }

}  // namespace a8a::testing
