// The other process of tests that need one: peer_process ADDRESS UID. Reads commands from stdin, one a line, and writes
// one line for each: "OK", "OK RESULT" or the name of a gRPC status code. UID:GID:GROUP, if not "-", is taken first.
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "tests/integration/daemon/daemon_client.h"

namespace a8a::testing {
namespace {

std::string CodeName(const grpc::Status& status) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
}

template <typename Result>
std::string Answer(const grpc::Status& status, const Result& result) {
  std::ostringstream answer;
  if (status.ok()) answer << "OK " << result;
  return status.ok() ? answer.str() : CodeName(status);
}

std::string Answer(const grpc::Status& status) { return status.ok() ? "OK" : CodeName(status); }

class Peer {
 public:
  explicit Peer(const std::string& address) : address_(address), client_(address) {
    commands_ = {
        {"attach", [this](auto&) { return Attach(); }},
        {"resume", [this](auto& arguments) { return Resume(arguments); }},
        {"ticket", [this](auto& arguments) { return Ticket(arguments); }},
        {"stats-of-group", [this](auto& arguments) { return StatsOfGroup(arguments); }},
        {"storm", [this](auto& arguments) { return Storm(arguments); }},
        {"break", [this](auto&) { return Break(); }},
        {"register", [this](auto& arguments) { return Register(arguments); }},
        {"release", [this](auto& arguments) { return Release(arguments); }},
        {"get-buffer", [this](auto& arguments) { return GetBuffer(arguments); }},
        {"count-buffers", [this](auto&) { return CountBuffers(); }},
        {"join", [this](auto& arguments) { return Join(arguments); }},
        {"window", [this](auto& arguments) { return Window(arguments); }},
        {"release-window", [this](auto& arguments) { return ReleaseWindow(arguments); }},
        {"leave", [this](auto& arguments) { return Leave(arguments); }},
        {"abort", [this](auto& arguments) { return Abort(arguments); }},
        {"get-group", [this](auto& arguments) { return GetGroup(arguments); }},
        {"count-groups", [this](auto&) { return CountGroups(); }},
        {"count-sessions", [this](auto&) { return CountSessions(); }},
        {"drain", [this](auto&) { return Drain(); }},
        {"undrain", [this](auto&) { return Undrain(); }},
        {"revoke", [this](auto& arguments) { return Revoke(arguments); }},
        {"reload", [this](auto&) { return Reload(); }},
        {"redeem", [this](auto& arguments) { return Redeem(arguments); }},
    };
  }

  std::string Run(const std::string& line) {
    std::istringstream arguments(line);
    std::string name;
    arguments >> name;
    const auto command = commands_.find(name);
    return command == commands_.end() ? "no such command: " + line : command->second(arguments);
  }

 private:
  std::string Attach() {
    session_ = client_.Attach("peer");
    return session_->id() != 0 ? "OK " + std::to_string(session_->id()) : CodeName(session_->Finish());
  }
  std::string Resume(std::istream& arguments) {
    v1::Hello hello = MakeHello("peer");
    std::uint64_t session_id = 0;
    arguments >> session_id;
    hello.set_resume_session_id(session_id);
    Session session(client_.session.get(), hello);
    return session.id() != 0 ? "OK" : CodeName(session.Finish());
  }
  // A new ticket of a buffer, in hex.
  std::string Ticket(std::istream& arguments) {
    v1::GetBufferRequest request;
    v1::GetBufferResponse response;
    std::uint64_t session_id = 0;
    std::uint64_t buffer_id = 0;
    arguments >> session_id >> buffer_id;
    request.set_session_id(session_id);
    request.set_buffer_id(buffer_id);
    request.set_issue_ticket(true);
    const grpc::Status status = Call(client_.buffer.get(), &v1::BufferService::Stub::GetBuffer, request, &response);
    return Answer(status, absl::BytesToHexString(response.ticket().value()));
  }
  std::string StatsOfGroup(std::istream& arguments) {
    v1::GetStatsRequest request;
    v1::GetStatsResponse response;
    std::uint64_t group_id = 0;
    arguments >> group_id;
    request.set_group_id(group_id);
    const grpc::Status status = Call(client_.stat.get(), &v1::StatService::Stub::GetStats, request, &response);
    return Answer(status, response.stats().groups_size());
  }
  // COUNT calls of GetStats at once: how many were served, and how many refused for being too many.
  std::string Storm(std::istream& arguments) {
    std::size_t count = 0;
    arguments >> count;
    std::vector<grpc::ClientContext> contexts(count);
    std::vector<v1::GetStatsResponse> responses(count);
    const v1::GetStatsRequest request;
    std::atomic<std::size_t> served = 0;
    std::atomic<std::size_t> refused = 0;
    std::atomic<std::size_t> over = 0;
    for (std::size_t i = 0; i < count; ++i) {
      client_.stat->async()->GetStats(&contexts[i], &request, &responses[i], [&](const grpc::Status& status) {
        if (status.ok()) ++served;
        if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++refused;
        ++over;
      });
    }
    if (!Eventually([&] { return over == count; })) return "the calls do not end";
    return "OK " + std::to_string(served) + " " + std::to_string(refused);
  }
  std::string Break() {
    session_.reset();
    return "OK";
  }
  std::string Register(std::istream& arguments) {
    v1::RegisterBufferRequest request;
    v1::RegisterBufferResponse response;
    std::uint64_t session_id = 0;
    std::int64_t size_bytes = 0;
    arguments >> session_id >> size_bytes;
    request.set_session_id(session_id);
    request.set_device("host");
    request.set_size_bytes(size_bytes);
    const grpc::Status status =
        Call(client_.buffer.get(), &v1::BufferService::Stub::RegisterBuffer, request, &response);
    return Answer(status, response.buffer().buffer_id());
  }
  std::string Release(std::istream& arguments) {
    v1::ReleaseBufferRequest request;
    v1::ReleaseBufferResponse response;
    std::uint64_t session_id = 0;
    std::uint64_t buffer_id = 0;
    std::uint64_t generation = 0;
    arguments >> session_id >> buffer_id >> generation;
    request.set_session_id(session_id);
    request.set_buffer_id(buffer_id);
    request.set_generation(generation);
    return Answer(Call(client_.buffer.get(), &v1::BufferService::Stub::ReleaseBuffer, request, &response));
  }
  std::string GetBuffer(std::istream& arguments) {
    v1::GetBufferRequest request;
    v1::GetBufferResponse response;
    std::uint64_t session_id = 0;
    std::uint64_t buffer_id = 0;
    arguments >> session_id >> buffer_id;
    request.set_session_id(session_id);
    request.set_buffer_id(buffer_id);
    return Answer(Call(client_.buffer.get(), &v1::BufferService::Stub::GetBuffer, request, &response));
  }
  std::string CountBuffers() {
    v1::ListBuffersResponse response;
    const grpc::Status status =
        Call(client_.buffer.get(), &v1::BufferService::Stub::ListBuffers, v1::ListBuffersRequest(), &response);
    return Answer(status, response.buffers_size());
  }
  std::string Join(std::istream& arguments) {
    v1::JoinGroupRequest request;
    v1::JoinGroupResponse response;
    std::uint64_t session_id = 0;
    std::string name;
    int rank = 0;
    int world_size = 0;
    std::string secret;
    arguments >> session_id >> name >> rank >> world_size >> secret;
    request.set_secret(secret);
    request.set_session_id(session_id);
    request.set_name(name);
    request.set_rank(rank);
    request.set_world_size(world_size);
    request.set_device("host");
    const grpc::Status status = Call(client_.group.get(), &v1::GroupService::Stub::JoinGroup, request, &response);
    return Answer(status, response.group().group_id());
  }
  std::string Window(std::istream& arguments) {
    v1::RegisterWindowRequest request;
    v1::RegisterWindowResponse response;
    std::uint64_t session_id = 0;
    std::uint64_t group_id = 0;
    std::string name;
    std::int64_t size_bytes = 0;
    arguments >> session_id >> group_id >> name >> size_bytes;
    request.set_session_id(session_id);
    request.set_group_id(group_id);
    request.set_name(name);
    request.set_size_bytes(size_bytes);
    const grpc::Status status = Call(client_.group.get(), &v1::GroupService::Stub::RegisterWindow, request, &response);
    return Answer(status, response.window_index());
  }
  std::string ReleaseWindow(std::istream& arguments) {
    v1::ReleaseWindowRequest request;
    v1::ReleaseWindowResponse response;
    std::uint64_t session_id = 0;
    std::uint64_t group_id = 0;
    arguments >> session_id >> group_id;
    request.set_session_id(session_id);
    request.set_group_id(group_id);
    return Answer(Call(client_.group.get(), &v1::GroupService::Stub::ReleaseWindow, request, &response));
  }
  std::string Leave(std::istream& arguments) {
    v1::LeaveGroupRequest request;
    v1::LeaveGroupResponse response;
    std::uint64_t session_id = 0;
    std::uint64_t group_id = 0;
    arguments >> session_id >> group_id;
    request.set_session_id(session_id);
    request.set_group_id(group_id);
    return Answer(Call(client_.group.get(), &v1::GroupService::Stub::LeaveGroup, request, &response));
  }
  std::string Abort(std::istream& arguments) {
    v1::AbortGroupRequest request;
    v1::AbortGroupResponse response;
    std::uint64_t session_id = 0;
    std::uint64_t group_id = 0;
    arguments >> session_id >> group_id;
    request.set_session_id(session_id);
    request.set_group_id(group_id);
    return Answer(Call(client_.group.get(), &v1::GroupService::Stub::AbortGroup, request, &response));
  }
  std::string GetGroup(std::istream& arguments) {
    v1::GetGroupRequest request;
    v1::GetGroupResponse response;
    std::uint64_t group_id = 0;
    arguments >> group_id;
    request.set_group_id(group_id);
    return Answer(Call(client_.group.get(), &v1::GroupService::Stub::GetGroup, request, &response));
  }
  std::string CountGroups() {
    v1::ListGroupsResponse response;
    const grpc::Status status =
        Call(client_.group.get(), &v1::GroupService::Stub::ListGroups, v1::ListGroupsRequest(), &response);
    return Answer(status, response.groups_size());
  }
  std::string CountSessions() {
    v1::GetStatsResponse response;
    const grpc::Status status =
        Call(client_.stat.get(), &v1::StatService::Stub::GetStats, v1::GetStatsRequest(), &response);
    return Answer(status, response.stats().sessions_size());
  }
  std::string Drain() {
    v1::DrainResponse response;
    return Answer(Call(client_.admin.get(), &v1::AdminService::Stub::Drain, v1::DrainRequest(), &response));
  }
  std::string Undrain() {
    v1::UndrainResponse response;
    return Answer(Call(client_.admin.get(), &v1::AdminService::Stub::Undrain, v1::UndrainRequest(), &response));
  }
  std::string Revoke(std::istream& arguments) {
    v1::RevokeRequest request;
    v1::RevokeResponse response;
    std::uint64_t session_id = 0;
    arguments >> session_id;
    request.set_session_id(session_id);
    return Answer(Call(client_.admin.get(), &v1::AdminService::Stub::Revoke, request, &response));
  }
  std::string Reload() {
    v1::ReloadConfigResponse response;
    return Answer(
        Call(client_.admin.get(), &v1::AdminService::Stub::ReloadConfig, v1::ReloadConfigRequest(), &response));
  }
  // redeem SOCKET_PATH SESSION TICKET_IN_HEX
  std::string Redeem(std::istream& arguments) {
    std::string path;
    std::uint64_t session_id = 0;
    std::string ticket;
    arguments >> path >> session_id >> ticket;
    v1::Ticket message;
    message.set_value(absl::HexStringToBytes(ticket));
    const auto reply = FdClient(path).Redeem(session_id, message);
    if (!reply.has_value()) return "closed";
    return absl::StatusCodeToString(static_cast<absl::StatusCode>(reply->reply.code));
  }

  const std::string address_;
  DaemonClient client_;
  std::unique_ptr<Session> session_;
  std::map<std::string, std::function<std::string(std::istream&)>> commands_;
};

bool Become(const std::string& credentials) {
  if (credentials == "-") return true;
  unsigned uid = 0;
  unsigned gid = 0;
  unsigned group = 0;
  const int count = std::sscanf(credentials.c_str(), "%u:%u:%u", &uid, &gid, &group);
  if (count < 2) gid = uid;
  const gid_t groups[] = {group};
  return ::setgroups(count == 3 ? 1 : 0, groups) == 0 && ::setresgid(gid, gid, gid) == 0 &&
         ::setresuid(uid, uid, uid) == 0;
}

int Main(const std::string& address, const std::string& credentials) {
  if (!Become(credentials)) return 1;
  // Tests end it by all kinds of signals.
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE}) ::signal(signal, SIG_DFL);
  Peer peer(address);
  std::cout << "READY" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line == "exit") return 0;
    std::cout << peer.Run(line) << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace a8a::testing

int main(int argc, char** argv) { return argc == 3 ? a8a::testing::Main(argv[1], argv[2]) : 2; }
