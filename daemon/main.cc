// a8a-daemon: the node daemon. `a8a-daemon --help` lists its options; daemon/README.md says what is where.
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/command_line.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "daemon/service_manager.h"
#include "daemon/settings.h"
#include "daemon/signals.h"
#include "daemon/thread.h"

namespace a8a::daemon {
namespace {

constexpr int kExitFailure = 1;
// gRPC's threads would make an arena of the heap each; the daemon allocates too little to contend for two.
constexpr int kHeapArenas = 2;
// Signals this close together are one: timeout(1) and some supervisors signal the process and then its group.
constexpr absl::Duration kOneSignal = absl::Milliseconds(500);
// How soon the end of draining is noticed.
constexpr absl::Duration kStopPollInterval = absl::Milliseconds(10);

// What came of reading the settings again, for people.
std::string Describe(const Settings::Changes& changes) {
  const std::string applied = changes.applied.empty() ? "nothing" : absl::StrJoin(changes.applied, ", ");
  if (changes.needs_restart.empty()) return absl::StrCat("Settings read again, changed: ", applied);
  return absl::StrCat("Settings read again, changed: ", applied,
                      "; waits for a restart: ", absl::StrJoin(changes.needs_restart, ", "));
}

void ReloadConfig(Settings* settings) {
  ServiceManager::NotifyReloading();
  const absl::StatusOr<Settings::Changes> changes = settings->Reload();
  const std::string outcome =
      changes.ok() ? Describe(*changes) : absl::StrCat("Settings refused, none changed: ", changes.status().message());
  if (!changes.ok()) {
    LogEvent(LogLevel::kError, "config_refused", {{"reason", std::string(changes.status().message())}});
  }
  ServiceManager::Notify(absl::StrCat("READY=1\n", ServiceManager::StatusLine(outcome)));
}

// Returns kStop or kHandOver.
SignalKind WaitForEnd(const Signals& signals, Settings* settings) {
  while (true) {
    const SignalKind signal = signals.Wait(absl::InfiniteDuration());
    if (signal == SignalKind::kStop || signal == SignalKind::kHandOver) return signal;
    if (signal == SignalKind::kReload) ReloadConfig(settings);
  }
}

// Drains and stops, unless a second signal ends the process first.
void StopServer(const Signals& signals, Server* server) {
  const absl::Time first = absl::Now();
  std::atomic<bool> stopped = false;
  absl::StatusOr<std::thread> stopper = StartThread("a8a-stop", [server, &stopped] {
    server->DrainAndStop();
    stopped = true;
  });
  // Without a thread for it a second signal is not heard, and that is all.
  if (!stopper.ok()) return server->DrainAndStop();
  while (!stopped) {
    if (signals.Wait(kStopPollInterval) != SignalKind::kStop || absl::Now() - first < kOneSignal) continue;
    LogEvent(LogLevel::kWarning, "stopped_at_once", {{"reason", "second signal"}});
    server->RemoveFiles();
    StopLog();
    ::_exit(kExitFailure);
  }
  stopper->join();
}

int Run(const Signals& signals, const CommandLine& command_line, const Options& options, PassedDescriptors passed) {
  Settings settings(command_line, options);
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(&settings, std::move(passed));
  if (!server.ok()) {
    LogEvent(LogLevel::kError, "start_failed", {{"reason", std::string(server.status().message())}});
    return kExitFailure;
  }
  if (WaitForEnd(signals, &settings) == SignalKind::kHandOver) {
    (*server)->HandOver();
  } else {
    StopServer(signals, server->get());
  }
  return EXIT_SUCCESS;
}

int Main(int argc, const char* const* argv) {
  ::mallopt(M_ARENA_MAX, kHeapArenas);
  // First, so that every thread that is ever made inherits the mask.
  const Signals signals;
  PassedDescriptors passed = ServiceManager::TakeDescriptors();
  const std::variant<CommandLine, int> parsed = ParseCommandLine(argc, argv);
  if (const int* exit_status = std::get_if<int>(&parsed)) return *exit_status;
  const CommandLine& command_line = std::get<CommandLine>(parsed);
  const absl::StatusOr<Options> options = LoadOptions(command_line);
  if (!options.ok()) {
    std::cerr << "a8a-daemon: " << options.status().message() << "\n";
    return kExitUsage;
  }
  if (command_line.check_config) return EXIT_SUCCESS;
  if (const absl::Status status = StartLog(options->log_format, options->log_level); !status.ok()) {
    std::cerr << "a8a-daemon: " << status.message() << "\n";
    return kExitFailure;
  }
  const int exit_status = Run(signals, command_line, *options, std::move(passed));
  StopLog();
  return exit_status;
}

}  // namespace
}  // namespace a8a::daemon

int main(int argc, char** argv) { return a8a::daemon::Main(argc, argv); }
