#include "daemon/server.h"

#include <fcntl.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/backend.h"
#include "daemon/core/random_id.h"
#include "daemon/failpoint.h"
#include "daemon/log.h"
#include "daemon/metrics/rpc_interceptor.h"
#include "daemon/process.h"
#include "daemon/service_manager.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/version.h"
#include "proto/fd_protocol.h"

namespace a8a::daemon {
namespace {

// Allocations are bound by the kernel, and one that prefaults gigabytes takes a second: others need not wait for it.
constexpr int kCallThreads = 4;
constexpr std::size_t kCallQueueMax = 1024;
constexpr int kEndThreads = 2;
// Calls that are refused because there are too many, each some 10 KiB in gRPC until it is answered.
constexpr std::size_t kRefusalQueueMax = 2048;

// Requests are a few hundred bytes; the largest, a join with a 64-byte secret, is below 1 KiB.
constexpr int kRequestBytesMax = 64 * 1024;
constexpr int kMetadataBytesMax = 8 * 1024;
// Calls of one connection at once: an Attach stream, and a join or window of each group that a process is in.
constexpr int kStreamsPerConnectionMax = 128;
// A connection without calls is closed; a client with a session has its Attach stream. Also ends connections that never
// said anything.
constexpr int kIdleConnectionMs = 5 * 60 * 1000;
// Pings that clients may send; the daemon sends none, since the kernel tells when a local peer is gone, and a stopped
// process must not lose its stream.
constexpr int kPingIntervalMsMin = 10 * 1000;
// gRPC's own buffers for all connections together, and its threads (the pollers of callback services, and two for
// reflection, the only synchronous service).
constexpr std::size_t kGrpcMemoryBytesMax = std::size_t{32} << 20;
constexpr int kGrpcThreadsMax = 16;

// For a restored session whose process the daemon cannot find by itself: clients come back within a second or two,
// unless they are stopped.
constexpr absl::Duration kResumeTimeout = absl::Minutes(10);

// In the runtime directory, where the options do not name another place.
constexpr char kMetricsSocketName[] = "metrics.sock";

constexpr absl::Duration kTickInterval = absl::Milliseconds(500);
constexpr absl::Duration kDrainPollInterval = absl::Milliseconds(10);
// For streams that do not end by themselves (health watches, clients that do not read).
constexpr std::chrono::milliseconds kCallsEndTimeout{500};

// As many of this process's descriptors as one uid may hold where the config does not say. The rest is for others, and
// for the daemon itself.
int DescriptorMaxPerUid() {
  rlimit limit = {};
  if (A8A_FAILPOINT("server.getrlimit_per_uid", ::getrlimit(RLIMIT_NOFILE, &limit)) != 0) {
    return std::numeric_limits<int>::max();
  }
  return static_cast<int>(std::min<rlim_t>(limit.rlim_cur / 2, std::numeric_limits<int>::max()));
}

CorePolicy ToCorePolicy(const Options& options, int descriptor_max) {
  const UidLimits limits = {
      .session_max = options.session_max_per_uid,
      .group_max = options.group_max_per_uid,
      .window_max = options.window_max_per_uid,
      .buffer_max = options.buffer_max_per_uid,
      .device_bytes_max = options.bytes_max_per_uid,
      .descriptor_max = options.descriptor_max_per_uid == 0 ? descriptor_max : options.descriptor_max_per_uid};
  return {.uid_limits = limits, .user_memory = AllowsLegacyIpc(options)};
}

CoreOptions ToCoreOptions(const Settings* settings, const UidCounter* connection_descriptors, StateKeeper* keeper) {
  const Options options = *settings->current();
  CoreOptions core;
  core.session_max = options.session_max;
  core.group_max = options.group_max;
  core.buffer_max = options.buffer_max;
  core.ticket_lifetime = options.ticket_lifetime;
  core.keeper = keeper;
  core.policy = [settings, descriptor_max = DescriptorMaxPerUid()] {
    return ToCorePolicy(*settings->current(), descriptor_max);
  };
  core.connection_descriptors = [connection_descriptors](std::uint32_t uid) {
    return connection_descriptors->Count(uid);
  };
  return core;
}

void LogCoreEvent(const CoreEvent& event) { LogEvent(LogLevel::kInfo, event.name, event.fields); }

// Leases, connections and process handles are descriptors: takes all that the system grants.
void RaiseDescriptorLimit() {
  rlimit limit = {};
  if (A8A_FAILPOINT("server.getrlimit", ::getrlimit(RLIMIT_NOFILE, &limit)) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(A8A_FAILPOINT("server.setrlimit", ::setrlimit(RLIMIT_NOFILE, &limit)));
}

// Descriptors that were kept for something that is no more.
void DropKept(const Core::KeptDescriptors& kept) {
  for (const auto& [key, fd] : kept) ServiceManager::Drop(key);
}

constexpr char kDescriptorsPart[] = "part/descriptors";
constexpr char kFdSocketPart[] = "part/fd.sock";
constexpr char kLoopsPart[] = "part/loops";
constexpr char kStatePart[] = "part/state";

// What serves whom. Without the state file all of them serve, and only a restart would miss it.
std::vector<Health::Service> Services() {
  const std::vector<std::string> memory = {"device/", kDescriptorsPart, kFdSocketPart, kLoopsPart};
  return {{v1::SessionService::service_full_name(), {kDescriptorsPart, kLoopsPart}},
          {v1::BufferService::service_full_name(), memory},
          {v1::GroupService::service_full_name(), memory},
          {v1::StatService::service_full_name(), {kLoopsPart}},
          {v1::AdminService::service_full_name(), {kLoopsPart}}};
}

absl::Status CheckDescriptors() {
  const UniqueFd fd(A8A_FAILPOINT("server.dup_to_try", ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)));
  if (fd.valid()) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("the daemon has no descriptor left: ", std::strerror(errno)));
}

void SetLimits(grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kRequestBytesMax);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleConnectionMs);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kPingIntervalMsMin);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->SetResourceQuota(
      grpc::ResourceQuota("a8a-daemon").Resize(kGrpcMemoryBytesMax).SetMaxThreads(kGrpcThreadsMax));
  builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Settings* settings, PassedDescriptors passed) {
  const std::shared_ptr<const Options> options = settings->current();
  RaiseDescriptorLimit();
  A8A_ASSIGN_OR_RETURN(std::unique_ptr<RuntimeDir> runtime_dir, RuntimeDir::Open(options->runtime_dir));
  A8A_ASSIGN_OR_RETURN(Listeners listeners, IdentifySockets(std::move(passed.sockets), *options));
  A8A_ASSIGN_OR_RETURN(StateFile state_file, StateFile::Open(options->runtime_dir));
  A8A_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<MemoryProvider>> providers, MakeProviders(*options));
  std::unique_ptr<Server> server(
      new Server(settings, std::move(runtime_dir), std::move(state_file), std::move(providers)));
  // While this fails the state is still that of the daemon before, and stays as it is.
  A8A_RETURN_IF_ERROR(server->StartThreads());
  server->Restore(std::move(passed.kept));
  if (const absl::Status served = server->Serve(std::move(listeners)); !served.ok()) {
    const bool took_up_nothing = server->core_.load().session_count == 0;
    server->core_.LetGo();  // what it took up is the next one's
    if (took_up_nothing) server->keeper_.file().Remove();
    return served;
  }
  return server;
}

Server::Server(Settings* settings, std::unique_ptr<RuntimeDir> runtime_dir, StateFile state_file,
               std::vector<std::unique_ptr<MemoryProvider>> providers)
    : settings_(settings),
      daemon_instance_id_(RandomId()),
      runtime_dir_(std::move(runtime_dir)),
      callers_(&registry_, settings, [this] { instruments_.CountRequestRefused(); }),
      keeper_(std::move(state_file)),
      core_(ToCoreOptions(settings, &connection_descriptors_, &keeper_), std::move(providers), Clock::Real(),
            &LogCoreEvent),
      ends_({.name = "a8a-ends",
             .thread_count = kEndThreads,
             .queue_max = kCallQueueMax,
             .on_start = instruments_.ExecutorWait("ends")}),
      calls_({.name = "a8a-calls",
              .thread_count = kCallThreads,
              .queue_max = kCallQueueMax,
              .on_start = instruments_.ExecutorWait("calls")}),
      refusals_({.name = "a8a-refusals",
                 .thread_count = 1,
                 .queue_max = kRefusalQueueMax,
                 .on_start = instruments_.ExecutorWait("refusals")}),
      timers_(instruments_.TimerLateness()),
      self_probe_(settings->current()->runtime_dir, {.timers = &timers_, .ends = &ends_}),
      health_({.core = &core_, .settings = settings, .services = Services(), .parts = HealthParts()}),
      stats_reader_(&core_, &health_, daemon_instance_id_),
      metrics_page_({.core = &core_,
                     .health = &health_,
                     .connections = &registry_,
                     .keeper = &keeper_,
                     .instruments = &instruments_,
                     .rank_max = settings->current()->metrics_rank_max}),
      buffer_service_(Deps()),
      group_service_(Deps()),
      stat_service_(Deps(), &stats_reader_, &timers_),
      admin_service_(Deps(), &health_, settings) {}

ServiceDeps Server::Deps() {
  return {.core = &core_, .callers = &callers_, .calls = &calls_, .ends = &ends_, .refusals = &refusals_};
}

void Server::Restore(Core::KeptDescriptors kept) {
  const absl::StatusOr<CoreState> state = keeper_.file().Load();
  const absl::StatusOr<std::vector<SessionInfo>> sessions =
      state.ok() ? core_.Restore(*state, &kept) : absl::StatusOr<std::vector<SessionInfo>>(state.status());
  if (absl::IsNotFound(sessions.status())) {
    // So it is at the first start of a boot. Descriptors that were kept tell that there was a daemon before.
    LogEvent(kept.empty() ? LogLevel::kInfo : LogLevel::kWarning, "state_missing",
             {{"path", keeper_.file().path()}, {"kept_descriptors", absl::StrCat(kept.size())}});
    return DropKept(kept);
  }
  if (!sessions.ok()) {
    keeper_.file().Quarantine();
    LogEvent(LogLevel::kError, "state_refused",
             {{"moved_to", keeper_.file().quarantine_path()}, {"reason", std::string(sessions.status().message())}});
    return DropKept(kept);
  }
  for (const SessionInfo& session : *sessions) WatchRestored(session, &kept);
  DropKept(kept);
  LogEvent(LogLevel::kInfo, "state_restored",
           {{"sessions", absl::StrCat(sessions->size())}, {"groups", absl::StrCat(core_.load().group_count)}});
}

void Server::WatchRestored(const SessionInfo& session, Core::KeptDescriptors* kept) {
  absl::StatusOr<UniqueFd> pidfd = absl::NotFoundError("not kept");
  if (const auto fd = kept->find(SessionKey(session.session_id)); fd != kept->end()) {
    pidfd = std::move(fd->second);
    kept->erase(fd);
  } else {
    pidfd = ReopenProcess(session.identity);
    if (pidfd.ok()) keeper_.Keep(SessionKey(session.session_id), pidfd->get());
  }
  if (absl::IsNotFound(pidfd.status())) return core_.ProcessEnded(session.session_id);
  if (pidfd.ok() && watcher_->Watch(session.session_id, *std::move(pidfd)).ok()) return;
  core_.ExpectResume(session.session_id, absl::Now() + kResumeTimeout);
}

absl::Status Server::StartThreads() {
  A8A_RETURN_IF_ERROR(ends_.Start());
  A8A_RETURN_IF_ERROR(calls_.Start());
  A8A_RETURN_IF_ERROR(refusals_.Start());
  A8A_RETURN_IF_ERROR(timers_.Start());
  const auto on_end = [this](std::uint64_t session_id) {
    ends_.SubmitAlways({.uid = Executor::kDaemon}, [this, session_id] { core_.ProcessEnded(session_id); });
  };
  A8A_ASSIGN_OR_RETURN(watcher_, ProcessWatcher::Start(on_end, instruments_.LoopBusy("lives")));
  return absl::OkStatus();
}

absl::Status Server::Listen(Listeners* listeners) {
  if (listeners->grpc.valid()) return absl::OkStatus();
  const std::shared_ptr<const Options> options = settings_->current();
  RuntimeDir::SocketOptions socket_options = {
      .type = SOCK_SEQPACKET, .mode = options->socket_mode, .group = options->socket_group};
  A8A_ASSIGN_OR_RETURN(listeners->fd, runtime_dir_->Listen(kFdSocketName, socket_options));
  socket_options.type = SOCK_STREAM;
  A8A_ASSIGN_OR_RETURN(listeners->grpc, runtime_dir_->Listen(kGrpcSocketName, socket_options));
  return absl::OkStatus();
}

absl::Status Server::Serve(Listeners listeners) {
  session_service_ = std::make_unique<SessionService>(
      AttachDeps{.core = &core_, .watcher = watcher_.get(), .ends = &ends_, .daemon_instance_id = daemon_instance_id_},
      Deps(), settings_);
  A8A_RETURN_IF_ERROR(StartGrpc());
  A8A_RETURN_IF_ERROR(health_.Start(grpc_server_->GetHealthCheckService()));
  Tick();
  // Before the others, so that whoever finds the daemon serving finds these too.
  A8A_RETURN_IF_ERROR(StartMetrics());

  const bool passed = listeners.grpc.valid();
  A8A_RETURN_IF_ERROR(Listen(&listeners));
  A8A_ASSIGN_OR_RETURN(fd_server_, FdServer::Start(std::move(listeners.fd), settings_, &core_, &connection_descriptors_,
                                                   ObserverOf("fd", kFdSocketName)));
  const AcceptLoop::Deps accept_deps = {.settings = settings_,
                                        .core = &core_,
                                        .registry = &registry_,
                                        .descriptors = &connection_descriptors_,
                                        .observer = ObserverOf("accept", kGrpcSocketName)};
  A8A_ASSIGN_OR_RETURN(accept_loop_,
                       AcceptLoop::Start(std::move(listeners.grpc), accept_deps, [server = grpc_server_.get()](int fd) {
                         grpc::AddInsecureChannelFromFd(server, fd);
                       }));
  A8A_RETURN_IF_ERROR(health_.BeginChecks());
  A8A_RETURN_IF_ERROR(StartWatchdog());
  const std::string& runtime_dir = settings_->current()->runtime_dir;
  LogEvent(LogLevel::kInfo, "serving",
           {{"version", kVersion},
            {"pid", absl::StrCat(::getpid())},
            {"runtime_dir", runtime_dir},
            {"sockets", passed ? "passed" : "own"}});
  ServiceManager::Notify(absl::StrCat("READY=1\n", ServiceManager::StatusLine(absl::StrCat("Serves ", runtime_dir))));
  return absl::OkStatus();
}

std::vector<Health::Part> Server::HealthParts() {
  return {{kDescriptorsPart, [](absl::Duration) { return CheckDescriptors(); }},
          {kFdSocketPart, [this](absl::Duration timeout) { return self_probe_.CheckFdSocket(absl::Now() + timeout); }},
          {kLoopsPart,
           [this](absl::Duration timeout) {
             static_cast<void>(core_.draining());  // takes the core's lock, as every call does
             return self_probe_.CheckLoops(absl::Now() + timeout);
           }},
          {kStatePart, [this](absl::Duration) { return CheckState(); }}};
}

absl::Status Server::CheckState() {
  A8A_RETURN_IF_ERROR(keeper_.file().TryToWrite());
  if (!keeper_.saves()) core_.SaveAgain();
  if (keeper_.saves()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(keeper_.file().path(), " cannot be saved (event state_not_saved)"));
}

SocketObserver Server::ObserverOf(const std::string& loop, const std::string& socket) {
  return {.on_turn = instruments_.LoopBusy(loop),
          .on_refused = [this, socket] { instruments_.CountConnectionRefused(socket); }};
}

absl::Status Server::StartMetrics() {
  const std::shared_ptr<const Options> options = settings_->current();
  HttpServer::Options http = {
      .listeners = {}, .render = [this] { return metrics_page_.Render(); }, .content_type = MetricsPage::kContentType};
  if (options->metrics_socket != kMetricsSocketOff) {
    const std::string path = options->metrics_socket == kMetricsSocketOn
                                 ? absl::StrCat(options->runtime_dir, "/", kMetricsSocketName)
                                 : options->metrics_socket;
    A8A_ASSIGN_OR_RETURN(UniqueFd listener, runtime_dir_->ListenAt(path, {.type = SOCK_STREAM,
                                                                          .mode = options->metrics_socket_mode,
                                                                          .group = options->metrics_socket_group}));
    http.listeners.push_back(std::move(listener));
  }
  if (options->metrics_port != 0) {
    A8A_ASSIGN_OR_RETURN(UniqueFd listener, ListenOnLoopback(options->metrics_port));
    http.listeners.push_back(std::move(listener));
  }
  if (http.listeners.empty()) return absl::OkStatus();
  A8A_ASSIGN_OR_RETURN(metrics_server_, HttpServer::Start(std::move(http)));
  return absl::OkStatus();
}

absl::Status Server::StartWatchdog() {
  const absl::Duration period = ServiceManager::WatchdogPeriod();
  if (period == absl::ZeroDuration()) return absl::OkStatus();
  A8A_ASSIGN_OR_RETURN(watchdog_,
                       Watchdog::Start(period, [this](absl::Duration timeout) { return self_probe_.Run(timeout); }));
  return absl::OkStatus();
}

absl::Status Server::StartGrpc() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(&builder);
  builder.RegisterService(session_service_.get());
  builder.RegisterService(&buffer_service_);
  builder.RegisterService(&group_service_);
  builder.RegisterService(&stat_service_);
  builder.RegisterService(&admin_service_);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(MakeRpcInterceptors(&instruments_));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  // No listening port: connections come from the accept loop.
  grpc_server_ = builder.BuildAndStart();
  return grpc_server_ == nullptr ? absl::InternalError("gRPC did not start; its log says why") : absl::OkStatus();
}

void Server::Tick() {
  timers_.After(kTickInterval, [this] {
    ends_.SubmitAlways({.uid = Executor::kDaemon}, [this] { core_.Tick(); });
    Tick();
  });
}

void Server::DrainAndStop() {
  const absl::Duration timeout = settings_->current()->drain_timeout;
  const Core::Load load = core_.load();
  LogEvent(LogLevel::kInfo, "stopping",
           {{"timeout", absl::FormatDuration(timeout)},
            {"groups", absl::StrCat(load.group_count)},
            {"sessions", absl::StrCat(load.session_count)}});
  // Before any session is told, so that whoever looks after that sees it.
  ServiceManager::Notify(absl::StrCat(
      "STOPPING=1\n", ServiceManager::StatusLine(absl::StrCat("Waits for ", load.group_count, " groups to end"))));
  health_.BeginStop();
  core_.BeginStop(timeout);
  while (core_.load().group_count > 0) {
    absl::SleepFor(kDrainPollInterval);
    core_.Tick();
  }
  Stop();
  LogEvent(LogLevel::kInfo, "stopped", {});
}

void Server::HandOver() {
  const Core::Load load = core_.load();
  LogEvent(LogLevel::kInfo, "handing_over",
           {{"groups", absl::StrCat(load.group_count)}, {"sessions", absl::StrCat(load.session_count)}});
  watchdog_.reset();
  health_.EndChecks();
  metrics_server_.reset();
  // Before anything ends that could end a session.
  accept_loop_.reset();
  fd_server_.reset();
  core_.LetGo();
  Stop();
  LogEvent(LogLevel::kInfo, "handed_over", {});
}

Server::~Server() { Stop(); }

void Server::Stop() {
  watchdog_.reset();
  health_.EndChecks();
  metrics_server_.reset();
  // Nobody new, then nothing that runs by itself, then the calls, then what they left on the executors.
  accept_loop_.reset();
  fd_server_.reset();
  runtime_dir_->RemoveFiles();
  stat_service_.Stop();
  core_.EndEverything();
  if (watcher_ != nullptr) watcher_->Stop();
  if (grpc_server_ != nullptr) grpc_server_->Shutdown(std::chrono::system_clock::now() + kCallsEndTimeout);
  timers_.Stop();
  health_.Stop();
  grpc_server_.reset();
}

}  // namespace a8a::daemon
