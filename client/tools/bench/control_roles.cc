#include "client/tools/bench/control_roles.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "a8a/client.h"
#include "a8a/group.h"
#include "a8a/v1/session_service.grpc.pb.h"
#include "a8a/v1/stat_service.grpc.pb.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/tools/bench/board.h"
#include "client/tools/shared_memory.h"
#include "kernels/base/status_macros.h"
#include "proto/fd_protocol.h"

namespace a8a::bench {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(30);
// Fewer would not tell a p95.
constexpr std::int64_t kLeastStarts = 20 + kWarmUpStarts;

absl::Status ToStatus(const grpc::Status& status, absl::string_view what) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat(what, ": ", status.error_message()));
}

std::shared_ptr<grpc::Channel> ConnectToDaemon(const ControlConfig& config) {
  return grpc::CreateChannel(absl::StrCat("unix:", config.runtime_dir, "/", kGrpcSocketName),
                             grpc::InsecureChannelCredentials());
}

absl::StatusOr<std::unique_ptr<Client>> Attach(const ControlConfig& config, absl::string_view name) {
  return Client::Connect(
      {.runtime_dir = config.runtime_dir, .client_name = absl::StrCat("a8a-bench/", name), .timeout = kCallTimeout});
}

// --- start

absl::Status StartOnce(Board* board, int rank, std::int64_t repeat) {
  const ControlConfig& config = board->config;
  StartTimes& times = board->rank_times[rank];
  board->barrier.Wait();
  times.first_begin_ns = NowNs();
  A8A_ASSIGN_OR_RETURN(const auto client, Attach(config, absl::StrCat(rank)));
  times.last_attached_ns = NowNs();
  A8A_ASSIGN_OR_RETURN(const auto group, client->Join({.name = absl::StrCat(config.tag, "-start", repeat),
                                                       .rank = rank,
                                                       .world_size = config.rank_count,
                                                       .timeout = kCallTimeout}));
  times.last_joined_ns = NowNs();
  A8A_ASSIGN_OR_RETURN(const auto window, group->RegisterWindow("window", config.window_bytes, kCallTimeout));
  times.last_window_ns = NowNs();
  board->barrier.Wait();  // nobody leaves before all are there
  return absl::OkStatus();
}

// Over the ranks; between two barriers, so that no rank writes its times.
StartTimes MergeTimes(const Board& board) {
  StartTimes merged = board.rank_times[0];
  for (int rank = 1; rank < board.config.rank_count; ++rank) {
    const StartTimes& times = board.rank_times[rank];
    merged.first_begin_ns = std::min(merged.first_begin_ns, times.first_begin_ns);
    merged.last_attached_ns = std::max(merged.last_attached_ns, times.last_attached_ns);
    merged.last_joined_ns = std::max(merged.last_joined_ns, times.last_joined_ns);
    merged.last_window_ns = std::max(merged.last_window_ns, times.last_window_ns);
  }
  return merged;
}

absl::Status RunStart(Board* board, int rank) {
  const std::int64_t end_ns = NowNs() + std::int64_t{board->config.seconds} * 1'000'000'000;
  for (std::int64_t repeat = 0; !board->stop; ++repeat) {
    A8A_RETURN_IF_ERROR(StartOnce(board, rank, repeat));
    if (rank == 0) {
      board->starts[board->start_count++] = MergeTimes(*board);
      board->progress = board->start_count;
      board->stop = board->start_count == kMaxSamples || (NowNs() > end_ns && board->start_count >= kLeastStarts);
    }
    board->barrier.Wait();  // all have left, and know whether to go on
  }
  return absl::OkStatus();
}

// --- attach

// Attach as the wire has it, over a connection that is there already: hello until welcome.
absl::Status AttachByStub(v1::SessionService::Stub* stub, std::int64_t* duration_ns) {
  grpc::ClientContext context;
  v1::AttachRequest request;
  request.mutable_hello()->set_client_name("a8a-bench/attach");
  request.mutable_hello()->set_protocol_version(kProtocolVersion);
  v1::AttachResponse response;
  const std::int64_t begin_ns = NowNs();
  const auto stream = stub->Attach(&context);
  const bool welcome = stream->Write(request) && stream->Read(&response) && response.has_welcome();
  *duration_ns = NowNs() - begin_ns;
  request.mutable_goodbye();
  stream->Write(request);
  stream->WritesDone();
  while (stream->Read(&response)) {
  }
  const grpc::Status status = stream->Finish();
  if (welcome && status.ok()) return absl::OkStatus();
  return status.ok() ? absl::InternalError("Attach: the daemon did not begin with a welcome")
                     : ToStatus(status, "Attach");
}

absl::Status ConnectByClient(const ControlConfig& config, std::int64_t* duration_ns) {
  const std::int64_t begin_ns = NowNs();
  const auto client = Attach(config, "connect");
  *duration_ns = NowNs() - begin_ns;
  return client.status();
}

absl::Status RunAttach(Board* board) {
  const auto stub = v1::SessionService::NewStub(ConnectToDaemon(board->config));
  const std::int64_t end_ns = NowNs() + std::int64_t{board->config.seconds} * 1'000'000'000;
  while (!board->connect.full() && (NowNs() < end_ns || board->connect.count < 2 * kWarmUpCalls)) {
    std::int64_t duration_ns = 0;
    A8A_RETURN_IF_ERROR(AttachByStub(stub.get(), &duration_ns));
    board->attach.Add(duration_ns);
    A8A_RETURN_IF_ERROR(ConnectByClient(board->config, &duration_ns));
    board->connect.Add(duration_ns);
    board->progress = board->connect.count;
  }
  return absl::OkStatus();
}

// --- crowd

// One session of the crowd, in its group if it has one.
struct Member {
  std::unique_ptr<Client> client;
  std::unique_ptr<Group> group;
  absl::Status status;
};

int CrowdWorldSize(const ControlConfig& config) {
  return config.group_count == 0 ? 0 : std::min(config.session_count / config.group_count, kMaxWorldSize);
}

void Enter(const ControlConfig& config, int session, Member* member) {
  member->status = [&]() -> absl::Status {
    A8A_ASSIGN_OR_RETURN(member->client, Attach(config, absl::StrCat("crowd", session)));
    const int world_size = CrowdWorldSize(config);
    // The sessions left over when they do not divide by the groups stay without one.
    if (world_size == 0 || session >= world_size * config.group_count) return absl::OkStatus();
    A8A_ASSIGN_OR_RETURN(member->group,
                         member->client->Join({.name = absl::StrCat(config.tag, "-crowd", session / world_size),
                                               .rank = session % world_size,
                                               .world_size = world_size,
                                               .timeout = kCallTimeout}));
    return absl::OkStatus();
  }();
}

// The sessions of child c are c, c + rank_count, ...: so the ranks of a group are spread over processes.
absl::Status HoldSessions(Board* board, int child) {
  const ControlConfig& config = board->config;
  std::vector<Member> members(
      static_cast<std::size_t>((config.session_count - child + config.rank_count - 1) / config.rank_count));
  std::vector<std::thread> threads;
  int session = child;
  for (Member& member : members) {
    threads.emplace_back(Enter, std::cref(config), session, &member);
    session += config.rank_count;
  }
  for (std::thread& thread : threads) thread.join();
  for (const Member& member : members) A8A_RETURN_IF_ERROR(member.status);
  board->barrier.Wait();  // all are there
  board->barrier.Wait();  // and have been looked at
  return absl::OkStatus();
}

absl::StatusOr<v1::Stats> GetStats(v1::StatService::Stub* stub, std::int64_t* duration_ns) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kCallTimeout));
  v1::GetStatsResponse response;
  const std::int64_t begin_ns = NowNs();
  const grpc::Status status = stub->GetStats(&context, v1::GetStatsRequest(), &response);
  *duration_ns = NowNs() - begin_ns;
  if (!status.ok()) return ToStatus(status, "GetStats");
  return response.stats();
}

// Counts what of the crowd the daemon knows, so that a figure for 200 sessions is one for 200 sessions.
void CountCrowd(const v1::Stats& stats, Board* board) {
  board->resident_bytes = stats.daemon().resident_bytes();
  board->sessions_seen = std::count_if(
      stats.sessions().begin(), stats.sessions().end(),
      [](const v1::SessionStats& session) { return absl::StartsWith(session.client_name(), "a8a-bench/crowd"); });
  board->groups_seen =
      std::count_if(stats.groups().begin(), stats.groups().end(), [board](const v1::GroupStats& group) {
        return absl::StartsWith(group.group().name(), board->config.tag) &&
               group.group().state() == v1::GROUP_STATE_READY;
      });
}

absl::Status CheckCrowd(const Board& board) {
  const ControlConfig& config = board.config;
  if (board.sessions_seen == config.session_count && board.groups_seen == config.group_count) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the daemon knows ", board.sessions_seen, " of ", config.session_count,
                                          " sessions and ", board.groups_seen, " of ", config.group_count, " groups"));
}

absl::Status WatchCrowd(Board* board) {
  const auto stub = v1::StatService::NewStub(ConnectToDaemon(board->config));
  std::int64_t duration_ns = 0;
  A8A_ASSIGN_OR_RETURN(const v1::Stats before, GetStats(stub.get(), &duration_ns));
  board->resident_bytes_before = before.daemon().resident_bytes();
  board->barrier.Wait();  // let them in
  board->barrier.Wait();  // all are there
  const std::int64_t end_ns = NowNs() + std::int64_t{board->config.seconds} * 1'000'000'000;
  while (!board->get_stats.full() && (NowNs() < end_ns || board->get_stats.count < 2 * kWarmUpCalls)) {
    A8A_ASSIGN_OR_RETURN(const v1::Stats stats, GetStats(stub.get(), &duration_ns));
    board->get_stats.Add(duration_ns);
    board->progress = board->get_stats.count;
    CountCrowd(stats, board);
  }
  A8A_RETURN_IF_ERROR(CheckCrowd(*board));
  board->barrier.Wait();
  return absl::OkStatus();
}

absl::Status RunCrowd(Board* board, int child) {
  if (child == board->config.rank_count) return WatchCrowd(board);
  board->barrier.Wait();  // until the daemon was looked at without the crowd
  return HoldSessions(board, child);
}

absl::Status RunRole(const tools::RankInvocation& invocation, Board* board) {
  if (invocation.role == kStartRole) return RunStart(board, invocation.rank);
  if (invocation.role == kAttachRole) return RunAttach(board);
  if (invocation.role == kCrowdRole) return RunCrowd(board, invocation.rank);
  return absl::InvalidArgumentError(absl::StrCat("unknown role ", invocation.role));
}

}  // namespace

int RunControlRole(const tools::RankInvocation& invocation) {
  const auto memory = tools::SharedMemory::Open(invocation.shared_fd, sizeof(Board));
  if (!memory.ok() || invocation.rank < 0 || invocation.rank >= kMaxChildren) {
    std::fprintf(stderr, "a8a-bench: %s\n", memory.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  Board* board = reinterpret_cast<Board*>((*memory)->data());
  const absl::Status status = RunRole(invocation, board);
  if (status.ok()) return EXIT_SUCCESS;
  char* error = board->errors[invocation.rank];
  std::snprintf(error, sizeof(board->errors[0]), "%s", status.ToString().c_str());
  return EXIT_FAILURE;
}

}  // namespace a8a::bench
