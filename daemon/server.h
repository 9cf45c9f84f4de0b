// The life of the daemon: start, drain, stop. What it serves is elsewhere: services (*_service.h), core (core/core.h),
// memory (memory/).
#ifndef A8A_DAEMON_SERVER_H_
#define A8A_DAEMON_SERVER_H_

#include <grpcpp/server.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/accept_loop.h"
#include "daemon/admin_service.h"
#include "daemon/buffer_service.h"
#include "daemon/caller.h"
#include "daemon/connection_registry.h"
#include "daemon/core/core.h"
#include "daemon/executor.h"
#include "daemon/fd_server.h"
#include "daemon/group_service.h"
#include "daemon/health.h"
#include "daemon/metrics/http_server.h"
#include "daemon/metrics/instruments.h"
#include "daemon/metrics/page.h"
#include "daemon/passed_sockets.h"
#include "daemon/process_watcher.h"
#include "daemon/runtime_dir.h"
#include "daemon/runtime_keeper.h"
#include "daemon/self_probe.h"
#include "daemon/service_manager.h"
#include "daemon/session_service.h"
#include "daemon/settings.h"
#include "daemon/socket_observer.h"
#include "daemon/stat_service.h"
#include "daemon/stats_reader.h"
#include "daemon/timer_queue.h"
#include "daemon/uid_counter.h"
#include "daemon/watchdog.h"

namespace a8a::daemon {

class Server {
 public:
  // Takes the runtime directory and what an earlier daemon has left in it, makes the core and serves. `settings`
  // outlives the server; `passed` is what the service manager has made and kept: without sockets the server makes its
  // own. A start that fails leaves nothing behind that was not there.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Server>> Start(Settings* settings, PassedDescriptors passed);
  // Stops at once if DrainAndStop was not called.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Takes no new work, lets running groups finish until the drain timeout, ends what is left and stops. Blocks until
  // then. Call once.
  void DrainAndStop();

  // Stops at once and ends nothing: sessions, leases and groups are the next daemon's. Call once, instead.
  void HandOver();

  // Removes the files, for a process that is about to end at once. From any thread.
  void RemoveFiles() const { runtime_dir_->RemoveFiles(); }

 private:
  Server(Settings* settings, std::unique_ptr<RuntimeDir> runtime_dir, StateFile state_file,
         std::vector<std::unique_ptr<MemoryProvider>> providers);

  [[nodiscard]] absl::Status StartThreads();
  [[nodiscard]] absl::Status Serve(Listeners listeners);
  // Makes the sockets that `listeners` lacks.
  [[nodiscard]] absl::Status Listen(Listeners* listeners);
  // Takes up what an earlier daemon has left, if it can be used.
  void Restore(Core::KeptDescriptors kept);
  // Watches a restored session's process, or ends the session if that has ended.
  void WatchRestored(const SessionInfo& session, Core::KeptDescriptors* kept);
  [[nodiscard]] absl::Status StartGrpc();
  // What of the daemon itself health looks at.
  [[nodiscard]] std::vector<Health::Part> HealthParts();
  [[nodiscard]] absl::Status CheckState();
  // On the transports that the options name.
  [[nodiscard]] absl::Status StartMetrics();
  // If the service manager wants to be told that the daemon serves.
  [[nodiscard]] absl::Status StartWatchdog();
  void Tick();
  void Stop();

  [[nodiscard]] ServiceDeps Deps();
  // What the loop that serves a socket tells of itself.
  [[nodiscard]] SocketObserver ObserverOf(const std::string& loop, const std::string& socket);

  // In the order of construction; each may use what stands above it.
  Settings* const settings_;
  const std::uint64_t daemon_instance_id_;
  const std::unique_ptr<RuntimeDir> runtime_dir_;
  UidCounter connection_descriptors_;
  ConnectionRegistry registry_;
  // Before whatever tells it something.
  Instruments instruments_;
  const CallerResolver callers_;
  RuntimeKeeper keeper_;
  Core core_;
  std::unique_ptr<ProcessWatcher> watcher_;
  Executor ends_;
  Executor calls_;
  Executor refusals_;
  TimerQueue timers_;
  SelfProbe self_probe_;
  Health health_;
  StatsReader stats_reader_;
  MetricsPage metrics_page_;
  std::unique_ptr<SessionService> session_service_;
  BufferService buffer_service_;
  GroupService group_service_;
  StatService stat_service_;
  AdminService admin_service_;
  std::unique_ptr<grpc::Server> grpc_server_;
  std::unique_ptr<FdServer> fd_server_;
  std::unique_ptr<AcceptLoop> accept_loop_;
  std::unique_ptr<Watchdog> watchdog_;
  std::unique_ptr<HttpServer> metrics_server_;  // null where no metrics are served
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SERVER_H_
