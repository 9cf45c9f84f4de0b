#include "client/tools/bench/flood_roles.h"

#include <fcntl.h>
#include <grp.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "a8a/group.h"
#include "a8a/v1/buffer_service.grpc.pb.h"
#include "a8a/v1/group_service.grpc.pb.h"
#include "a8a/v1/session_service.grpc.pb.h"
#include "a8a/v1/stat_service.grpc.pb.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/tools/bench/flood_board.h"
#include "client/tools/shared_memory.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/unique_fd.h"
#include "proto/fd_protocol.h"

namespace a8a::bench {
namespace {

constexpr absl::Duration kFloodCallTimeout = absl::Seconds(30);
constexpr absl::Duration kPause = absl::Milliseconds(2);
// What HTTP/2 begins with. [RFC 9113, section 3.4]
constexpr absl::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string SocketPath(const FloodBoard& board, absl::string_view name) {
  return absl::StrCat(board.config.runtime_dir, "/", name);
}

// A channel of its own connection; gRPC would share one among channels of the same address.
std::shared_ptr<grpc::Channel> NewChannel(const FloodBoard& board) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(absl::StrCat("unix:", SocketPath(board, kGrpcSocketName)),
                                   grpc::InsecureChannelCredentials(), arguments);
}

// Takes a uid for good. The parent's death must end this process still, which the kernel forgets with the old uid.
absl::Status Become(std::uint32_t uid) {
  const pid_t parent = ::getppid();
  if (::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 || ::setresuid(uid, uid, uid) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot become uid ", uid));
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  return ::getppid() == parent ? absl::OkStatus() : absl::AbortedError("the parent has ended");
}

// --- The other uid

// Nanoseconds of one GetStats; negative if it failed.
std::int64_t TimeGetStats(v1::StatService::Stub* stub, FloodBoard* board) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kFloodCallTimeout));
  v1::GetStatsResponse response;
  const std::int64_t begin_ns = NowNs();
  const grpc::Status status = stub->GetStats(&context, v1::GetStatsRequest(), &response);
  const std::int64_t duration_ns = NowNs() - begin_ns;
  if (!status.ok()) return -1;
  board->daemon_pid = response.stats().daemon().pid();
  return duration_ns;
}

void AskForStats(FloodBoard* board) {
  const auto stub = v1::StatService::NewStub(NewChannel(*board));
  constexpr int kWarmUpCalls = 20;
  for (int i = 0; i < kWarmUpCalls; ++i) TimeGetStats(stub.get(), board);
  ++board->ready;
  while (!board->In(kFarewell)) {
    const int phase = board->phase;
    const std::int64_t duration_ns = TimeGetStats(stub.get(), board);
    if (phase >= kBefore && phase <= kAfter) {
      if (duration_ns >= 0) board->get_stats[phase - kBefore].Add(duration_ns);
      if (duration_ns < 0) ++board->failures[phase - kBefore];
    }
    absl::SleepFor(kPause);
  }
}

// --- Floods

// A connected socket; invalid if the daemon does not take it.
UniqueFd Connect(FloodBoard* board, absl::string_view name, int type) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = SocketPath(*board, name);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket.valid() || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return UniqueFd();
  }
  ++board->connects;
  return socket;
}
UniqueFd ConnectGrpc(FloodBoard* board) { return Connect(board, kGrpcSocketName, SOCK_STREAM); }
UniqueFd ConnectFd(FloodBoard* board) { return Connect(board, kFdSocketName, SOCK_SEQPACKET); }

bool ClosedByDaemon(const UniqueFd& socket, int timeout_ms) {
  pollfd entry = {.fd = socket.get(), .events = 0, .revents = 0};
  return ::poll(&entry, 1, timeout_ms) == 1 && (entry.revents & (POLLHUP | POLLERR)) != 0;
}

bool Send(const UniqueFd& socket, absl::string_view bytes) {
  return ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(bytes.size());
}

void Count(FloodBoard* board, int code) {
  if (code >= 0 && code < 17) ++board->codes[code];
}
void Count(FloodBoard* board, const grpc::Status& status) { Count(board, static_cast<int>(status.error_code())); }

// Counts the reply of fd.sock, or the closing.
void CountReply(FloodBoard* board, const UniqueFd& socket) {
  const timeval patience = {.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  FdReply reply = {};
  if (::recv(socket.get(), &reply, sizeof(reply), 0) == static_cast<ssize_t>(sizeof(reply))) {
    Count(board, reply.code);
  } else {
    ++board->closed;
  }
}

// Part of `total` that this process does; the parts of all add up to it.
int Share(int total) { return (total + kFlooderCount - 1) / kFlooderCount; }

void WaitForEnd(const FloodBoard& board) {
  while (board.In(kDuring)) absl::SleepFor(kPause);
}

void FloodConnects(FloodBoard* board) {
  const int least = Share(board->config.connects);
  for (int i = 0; i < least || board->In(kDuring); i += 2) {
    ConnectGrpc(board).Reset();
    ConnectFd(board).Reset();
    if (i >= least - 2 && i < least) ++board->flooded;
  }
}

void FloodIdle(FloodBoard* board) {
  std::vector<UniqueFd> sockets;
  for (int i = 0; i < Share(board->config.idle_connections); ++i) {
    sockets.push_back(ConnectGrpc(board));
    sockets.push_back(ConnectFd(board));
  }
  ++board->flooded;
  WaitForEnd(*board);
  for (const UniqueFd& socket : sockets) board->closed += ClosedByDaemon(socket, 0) ? 1 : 0;
}

// Takes every place that comes free, again and again.
void FloodDescriptors(FloodBoard* board) {
  std::vector<UniqueFd> sockets(static_cast<std::size_t>(Share(400)));
  bool all = false;
  do {
    for (std::size_t i = 0; i < sockets.size(); ++i) {
      if (sockets[i].valid() && !ClosedByDaemon(sockets[i], 0)) continue;
      if (sockets[i].valid()) ++board->closed;
      sockets[i] = i % 2 == 0 ? ConnectGrpc(board) : ConnectFd(board);
    }
    if (!std::exchange(all, true)) ++board->flooded;
  } while (board->In(kDuring));
}

void FloodSlow(FloodBoard* board) {
  std::vector<UniqueFd> sockets;
  for (int i = 0; i < 200; ++i) sockets.push_back(ConnectGrpc(board));
  const auto stub = v1::SessionService::NewStub(NewChannel(*board));
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>>> streams;
  for (int i = 0; i < 100; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(stub->Attach(contexts.back().get()));
  }
  ++board->flooded;
  // All but the last byte, so that no connection ever begins.
  for (std::size_t i = 0; board->In(kDuring); i = std::min(i + 1, kPreface.size() - 1)) {
    for (const UniqueFd& socket : sockets) {
      if (i + 1 < kPreface.size()) Send(socket, kPreface.substr(i, 1));
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
  for (const auto& context : contexts) context->TryCancel();
  for (const auto& stream : streams) Count(board, stream->Finish());
  for (const UniqueFd& socket : sockets) board->closed += ClosedByDaemon(socket, 0) ? 1 : 0;
}

// A frame that says it has 16 MiB, of a type that does not exist, on a stream that was never opened.
std::string BadFrames() {
  std::string bytes(kPreface);
  bytes.append("\xff\xff\xff\xff\xff\x7f\xff\xff\xff", 9);
  return bytes + std::string(32768, '\xff');
}

void SendAndAwaitClose(FloodBoard* board, absl::string_view bytes) {
  const UniqueFd socket = ConnectGrpc(board);
  Send(socket, bytes);
  board->closed += ClosedByDaemon(socket, /*timeout_ms=*/1000) ? 1 : 0;
}

void SendAndCountReply(FloodBoard* board, absl::string_view message) {
  const UniqueFd socket = ConnectFd(board);
  Send(socket, message);
  CountReply(board, socket);
}

void CallTooLarge(FloodBoard* board, v1::GroupService::Stub* stub, std::size_t secret_bytes,
                  std::size_t metadata_bytes) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kFloodCallTimeout));
  if (metadata_bytes > 0) context.AddMetadata("x-flood", std::string(metadata_bytes, 'x'));
  v1::JoinGroupRequest request;
  v1::JoinGroupResponse response;
  request.set_secret(std::string(secret_bytes, 'x'));
  Count(board, stub->JoinGroup(&context, request, &response));
}

void FloodMalformed(FloodBoard* board) {
  const auto stub = v1::GroupService::NewStub(NewChannel(*board));
  const std::string junk(32768, '\xff');
  const FdRequest bad_magic = {.magic = kFdMagic + 1, .kind = {}, .session_id = 1, .argument = {}};
  bool all = false;
  do {
    SendAndAwaitClose(board, junk);
    SendAndAwaitClose(board, BadFrames());
    SendAndCountReply(board, "junk");
    SendAndCountReply(board, junk);
    SendAndCountReply(board, {reinterpret_cast<const char*>(&bad_magic), sizeof(bad_magic)});
    CallTooLarge(board, stub.get(), /*secret_bytes=*/65 * 1024, /*metadata_bytes=*/0);
    CallTooLarge(board, stub.get(), /*secret_bytes=*/0, /*metadata_bytes=*/9 * 1024);
    if (!std::exchange(all, true)) ++board->flooded;
  } while (board->In(kDuring));
}

void SendDescriptors(const UniqueFd& socket, const std::vector<int>& fds) {
  FdRequest request = {.magic = kFdMagic, .kind = {}, .session_id = 1, .argument = {}};
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  ::sendmsg(socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void FloodJunkDescriptors(FloodBoard* board) {
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  // As many as one message can carry. [unix(7)]
  const std::vector<int> fds(253, null.get());
  bool all = false;
  do {
    const UniqueFd socket = ConnectFd(board);
    SendDescriptors(socket, fds);
    CountReply(board, socket);
    if (!std::exchange(all, true)) ++board->flooded;
  } while (board->In(kDuring));
}

// Calls GetStats and ListBuffers in turns, the next as soon as the last has ended, until the phase is over.
class EndlessCalls {
 public:
  EndlessCalls(FloodBoard* board, const std::shared_ptr<grpc::Channel>& channel)
      : board_(board), stat_(v1::StatService::NewStub(channel)), buffer_(v1::BufferService::NewStub(channel)) {
    Next();
  }
  void WaitUntilOver() const {
    while (!over_) absl::SleepFor(kPause);
  }

 private:
  void Next() {
    context_ = std::make_unique<grpc::ClientContext>();
    const auto done = [this](const grpc::Status& status) {
      Count(board_, status);
      if (board_->In(kDuring)) return Next();
      over_ = true;
    };
    if (++calls_ % 2 == 0) {
      buffer_->async()->ListBuffers(context_.get(), &list_, &buffers_, done);
    } else {
      stat_->async()->GetStats(context_.get(), &get_, &stats_, done);
    }
  }

  FloodBoard* const board_;
  const std::unique_ptr<v1::StatService::Stub> stat_;
  const std::unique_ptr<v1::BufferService::Stub> buffer_;
  const v1::GetStatsRequest get_;
  const v1::ListBuffersRequest list_;
  v1::GetStatsResponse stats_;
  v1::ListBuffersResponse buffers_;
  std::unique_ptr<grpc::ClientContext> context_;
  int calls_ = 0;
  std::atomic<bool> over_ = false;
};

void FloodRequests(FloodBoard* board) {
  // Of both processes together, more than the daemon lets wait.
  constexpr int kChannels = 8;
  constexpr int kCallsPerChannel = 120;
  std::vector<std::unique_ptr<EndlessCalls>> calls;
  for (int i = 0; i < kChannels; ++i) {
    const auto channel = NewChannel(*board);
    for (int j = 0; j < kCallsPerChannel; ++j) calls.push_back(std::make_unique<EndlessCalls>(board, channel));
  }
  ++board->flooded;
  for (const auto& call : calls) call->WaitUntilOver();
}

// Takes all that a uid can get, and holds it.
class Hoard {
 public:
  Hoard(FloodBoard* board, int child)
      : board_(board),
        child_(child),
        channel_(NewChannel(*board)),
        session_(v1::SessionService::NewStub(channel_)),
        buffer_(v1::BufferService::NewStub(channel_)),
        group_(v1::GroupService::NewStub(channel_)) {}

  // Says goodbye: a session outlives its stream.
  ~Hoard() {
    v1::AttachRequest request;
    request.mutable_goodbye();
    for (const auto& stream : streams_) stream->Write(request);
    for (const auto& stream : streams_) {
      v1::AttachResponse response;
      while (stream->Read(&response)) {
      }
      stream->Finish();
    }
  }
  Hoard(const Hoard&) = delete;
  Hoard& operator=(const Hoard&) = delete;

  void Take() {
    // Within the streams of one connection.
    for (int i = 0; i < 100 && Attach(); ++i) {
    }
    if (session_ids_.empty()) return;
    int groups = 0;
    while (groups < 1000 && JoinAlone(absl::StrCat(board_->config.tag, "-", child_, "-", groups))) ++groups;
    for (int i = 0; i < 100 && Window(absl::StrCat("w", i)); ++i) {
    }
    for (int i = 0; i < 100'000 && board_->In(kDuring) && Register(); ++i) {
    }
  }

 private:
  bool Attach() {
    contexts_.push_back(std::make_unique<grpc::ClientContext>());
    streams_.push_back(session_->Attach(contexts_.back().get()));
    v1::AttachRequest request;
    request.mutable_hello()->set_client_name("a8a-bench/flood");
    request.mutable_hello()->set_protocol_version(kProtocolVersion);
    v1::AttachResponse response;
    if (streams_.back()->Write(request) && streams_.back()->Read(&response)) {
      session_ids_.push_back(response.welcome().session_id());
      Count(board_, 0);
      return true;
    }
    Count(board_, streams_.back()->Finish());
    streams_.pop_back();
    contexts_.pop_back();
    return false;
  }
  template <typename Stub, typename Request, typename Response>
  bool Call(Stub* stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
            const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kFloodCallTimeout));
    const grpc::Status status = (stub->*method)(&context, request, response);
    Count(board_, status);
    return status.ok();
  }
  bool JoinAlone(const std::string& name) {
    v1::JoinGroupRequest request;
    v1::JoinGroupResponse response;
    request.set_session_id(session_ids_[0]);
    request.set_name(name);
    request.set_world_size(1);
    request.set_device("host");
    const bool joined = Call(group_.get(), &v1::GroupService::Stub::JoinGroup, request, &response);
    if (joined) group_id_ = response.group().group_id();
    return joined;
  }
  bool Window(const std::string& name) {
    v1::RegisterWindowRequest request;
    v1::RegisterWindowResponse response;
    request.set_session_id(session_ids_[0]);
    request.set_group_id(group_id_);
    request.set_name(name);
    request.set_size_bytes(1);
    return Call(group_.get(), &v1::GroupService::Stub::RegisterWindow, request, &response);
  }
  // By all sessions in turns, since outstanding tickets are limited for each.
  bool Register() {
    v1::RegisterBufferRequest request;
    v1::RegisterBufferResponse response;
    request.set_session_id(session_ids_[next_++ % session_ids_.size()]);
    request.set_device("host");
    request.set_size_bytes(4096);
    return Call(buffer_.get(), &v1::BufferService::Stub::RegisterBuffer, request, &response);
  }

  FloodBoard* const board_;
  const int child_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::SessionService::Stub> session_;
  const std::unique_ptr<v1::BufferService::Stub> buffer_;
  const std::unique_ptr<v1::GroupService::Stub> group_;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts_;
  std::vector<std::unique_ptr<grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>>> streams_;
  std::vector<std::uint64_t> session_ids_;
  std::uint64_t group_id_ = 0;
  std::size_t next_ = 0;
};

void FloodHoard(FloodBoard* board, int child) {
  Hoard hoard(board, child);
  hoard.Take();
  ++board->flooded;
  WaitForEnd(*board);
}

void RunFloodOfKind(FloodBoard* board, int child) {
  switch (board->config.kind) {
    case kConnects:
      return FloodConnects(board);
    case kIdle:
      return FloodIdle(board);
    case kDescriptors:
      return FloodDescriptors(board);
    case kSlow:
      return FloodSlow(board);
    case kMalformed:
      return FloodMalformed(board);
    case kJunkDescriptors:
      return FloodJunkDescriptors(board);
    case kRequests:
      return FloodRequests(board);
    default:
      return FloodHoard(board, child);
  }
}

// --- All children

absl::Status JoinOnce(FloodBoard* board, int child) {
  A8A_ASSIGN_OR_RETURN(const auto client, Client::Connect({.runtime_dir = board->config.runtime_dir,
                                                           .client_name = "a8a-bench/flood",
                                                           .timeout = kFloodCallTimeout}));
  A8A_ASSIGN_OR_RETURN(const auto group, client->Join({.name = absl::StrCat(board->config.tag, "-end-", child),
                                                       .rank = 0,
                                                       .world_size = 1,
                                                       .timeout = kFloodCallTimeout}));
  A8A_RETURN_IF_ERROR(group->RegisterWindow("window", 1 << 20, kFloodCallTimeout).status());
  ++board->joined;
  return absl::OkStatus();
}

absl::Status RunRole(FloodBoard* board, int child) {
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  A8A_RETURN_IF_ERROR(Become(child == 0 ? board->config.other_uid : board->config.flood_uid));
  if (child == 0) {
    AskForStats(board);
  } else {
    ++board->ready;
    while (board->phase < kDuring) absl::SleepFor(kPause);
    RunFloodOfKind(board, child);
    while (!board->In(kFarewell)) absl::SleepFor(kPause);
  }
  return JoinOnce(board, child);
}

}  // namespace

int RunFloodRole(const tools::RankInvocation& invocation) {
  const auto memory = tools::SharedMemory::Open(invocation.shared_fd, sizeof(FloodBoard));
  if (!memory.ok() || invocation.rank < 0 || invocation.rank >= kFloodChildren) {
    std::fprintf(stderr, "a8a-bench: %s\n", memory.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  auto* board = reinterpret_cast<FloodBoard*>((*memory)->data());
  const absl::Status status = RunRole(board, invocation.rank);
  if (status.ok()) return EXIT_SUCCESS;
  std::snprintf(board->errors[invocation.rank], sizeof(board->errors[0]), "%s", status.ToString().c_str());
  return EXIT_FAILURE;
}

}  // namespace a8a::bench
