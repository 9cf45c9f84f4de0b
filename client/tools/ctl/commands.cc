#include "client/tools/ctl/commands.h"

#include <sys/stat.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/tools/ctl/config_check.h"
#include "client/tools/ctl/daemon.h"
#include "client/tools/ctl/doctor.h"
#include "client/tools/ctl/json.h"
#include "client/tools/ctl/views.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/version.h"

namespace a8a::ctl {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<std::unique_ptr<Daemon>> Connect(const Options& options) {
  return Daemon::Connect(options.runtime_dir, options.timeout());
}

absl::StatusOr<Reply> Status(const Options& options, const Style& style) {
  A8A_ASSIGN_OR_RETURN(const auto daemon, Connect(options));
  A8A_ASSIGN_OR_RETURN(const v1::Stats stats, daemon->GetStats(0));
  A8A_ASSIGN_OR_RETURN(const std::string health, daemon->CheckHealth(""));
  return Reply{{{"health", health},
                {"daemon", DaemonJson(stats.daemon())},
                {"session_count", stats.sessions_size()},
                {"group_count", stats.groups_size()},
                {"devices", DevicesJson(stats)}},
               StatusView(stats, health, style) + ScopeNote(options),
               health == "SERVING" ? kExitOk : kExitNotWell};
}

absl::StatusOr<Reply> Devices(const Options& options, const Style& style) {
  A8A_ASSIGN_OR_RETURN(const v1::Stats stats, TakeSnapshot(options));
  return Reply{{{"devices", DevicesJson(stats)}}, DevicesView(stats, style)};
}

absl::StatusOr<Reply> Sessions(const Options& options, const Style& style) {
  A8A_ASSIGN_OR_RETURN(const v1::Stats stats, TakeSnapshot(options));
  return Reply{{{"sessions", SessionsJson(stats)}}, SessionsView(stats, style) + ScopeNote(options)};
}

absl::StatusOr<Reply> Groups(const Options& options, const Style& style) {
  A8A_ASSIGN_OR_RETURN(const v1::Stats stats, TakeSnapshot(options));
  return Reply{{{"groups", GroupsJson(stats)}}, GroupsView(stats, style) + ScopeNote(options)};
}

absl::StatusOr<Reply> Buffers(const Options& options, const Style& style) {
  A8A_ASSIGN_OR_RETURN(const auto daemon, Connect(options));
  A8A_ASSIGN_OR_RETURN(const std::vector<v1::Buffer> buffers, daemon->ListBuffers());
  return Reply{{{"buffers", BuffersJson(buffers)}}, BuffersView(buffers, style) + ScopeNote(options)};
}

absl::StatusOr<Reply> Counters(const Options& options, const Style& style) {
  A8A_ASSIGN_OR_RETURN(const v1::Stats stats, TakeSnapshot(options));
  return Reply{{{"groups", CountersJson(stats)}}, CountersView(stats, style) + ScopeNote(options)};
}

// "", the services and the devices.
std::vector<std::string> HealthNames(const v1::Stats& stats) {
  std::vector<std::string> names = {""};
  for (const char* service : {"Session", "Buffer", "Group", "Stat", "Admin"}) {
    names.push_back(absl::StrCat("a8a.v1.", service, "Service"));
  }
  for (const v1::DeviceStats& device : stats.devices())
    names.push_back(absl::StrCat("device/", device.device().name()));
  for (const char* part : {"descriptors", "fd.sock", "loops", "state"}) names.push_back(absl::StrCat("part/", part));
  return names;
}

absl::StatusOr<Reply> Health(const Options& options, const Style& style) {
  A8A_ASSIGN_OR_RETURN(const auto daemon, Connect(options));
  std::vector<std::string> names = {options.health_name};
  if (options.health_name.empty()) {
    A8A_ASSIGN_OR_RETURN(const v1::Stats stats, daemon->GetStats(0));
    names = HealthNames(stats);
  }
  Table table({{.title = "NAME"}, {.title = "HEALTH"}});
  Reply reply;
  reply.json["health"] = Json::object();
  for (const std::string& name : names) {
    A8A_ASSIGN_OR_RETURN(const std::string health, daemon->CheckHealth(name));
    const bool serving = health == "SERVING";
    if (!serving) reply.exit_status = kExitNotWell;
    table.AddRow({{name.empty() ? "(the daemon)" : name}, {health, serving ? Color::kGood : Color::kBad}});
    reply.json["health"][name] = health;
  }
  reply.text = table.Format(style);
  return reply;
}

absl::StatusOr<Reply> Doctor(const Options& options, const Style& style) {
  const std::vector<Finding> findings = Examine(options.runtime_dir, options.timeout());
  return Reply{{{"findings", FindingsJson(findings)}},
               FindingsView(findings, style),
               AnyFailed(findings) ? kExitNotWell : kExitOk};
}

absl::StatusOr<Reply> Drain(const Options& options, const Style&) {
  A8A_ASSIGN_OR_RETURN(const auto daemon, Connect(options));
  A8A_ASSIGN_OR_RETURN(const v1::DrainResponse response, daemon->Drain(absl::Seconds(options.drain_seconds)));
  return Reply{{{"group_count", response.group_count()}, {"session_count", response.session_count()}},
               absl::StrCat("The daemon drains: ", response.group_count(), " groups run, ", response.session_count(),
                            " sessions are attached.\n")};
}

absl::StatusOr<Reply> Undrain(const Options& options, const Style&) {
  A8A_ASSIGN_OR_RETURN(const auto daemon, Connect(options));
  A8A_RETURN_IF_ERROR(daemon->Undrain());
  return Reply{{{"draining", false}}, "The daemon takes new work.\n"};
}

absl::StatusOr<Reply> Revoke(const Options& options, const Style&) {
  v1::RevokeRequest request;
  if (options.target_kind == "session") request.set_session_id(options.target_id);
  if (options.target_kind == "group") request.set_group_id(options.target_id);
  if (options.target_kind == "buffer") request.set_buffer_id(options.target_id);
  A8A_ASSIGN_OR_RETURN(const auto daemon, Connect(options));
  A8A_RETURN_IF_ERROR(daemon->Revoke(request));
  return Reply{{{"revoked", options.target_kind}, {"id", options.target_id}},
               absl::StrCat("Revoked ", options.target_kind, " ", options.target_id, ".\n")};
}

absl::StatusOr<Reply> Reload(const Options& options, const Style&) {
  A8A_ASSIGN_OR_RETURN(const auto daemon, Connect(options));
  A8A_ASSIGN_OR_RETURN(const v1::ReloadConfigResponse response, daemon->ReloadConfig());
  const std::vector<std::string> applied(response.applied().begin(), response.applied().end());
  const std::vector<std::string> needs_restart(response.needs_restart().begin(), response.needs_restart().end());
  const auto line = [](absl::string_view what, const std::vector<std::string>& keys) {
    return absl::StrCat(what, keys.empty() ? "nothing" : absl::StrJoin(keys, ", "), "\n");
  };
  return Reply{{{"applied", applied}, {"needs_restart", needs_restart}},
               absl::StrCat(line("in force: ", applied), line("needs a restart: ", needs_restart))};
}

absl::StatusOr<Reply> ConfigCheck(const Options& options, const Style&) {
  A8A_ASSIGN_OR_RETURN(const std::string fault, CheckConfig(options.daemon_program, options.config_path));
  const bool right = fault.empty();
  return Reply{{{"file", options.config_path}, {"right", right}, {"error", right ? Json() : Json(fault)}},
               right ? absl::StrCat(options.config_path, " is right.\n") : absl::StrCat(fault, "\n"),
               right ? kExitOk : kExitNotWell};
}

// A daemon that does not run is no fault here.
absl::StatusOr<Reply> Version(const Options& options, const Style&) {
  const absl::StatusOr<v1::Stats> stats = TakeSnapshot(options);
  const Json daemon = stats.ok() ? Json(stats->daemon().version()) : Json();
  return Reply{{{"a8actl", kVersion}, {"a8a-daemon", daemon}},
               absl::StrCat("a8actl ", kVersion, "\na8a-daemon ",
                            stats.ok() ? stats->daemon().version() : std::string(stats.status().message()), "\n")};
}

}  // namespace

absl::StatusOr<v1::Stats> TakeSnapshot(const Options& options) {
  A8A_ASSIGN_OR_RETURN(const auto daemon, Connect(options));
  A8A_ASSIGN_OR_RETURN(v1::Stats stats, daemon->GetStats(options.group_id));
  if (options.group_id == 0 || stats.groups_size() > 0) return stats;
  return absl::NotFoundError(
      absl::StrCat("there is no group ", options.group_id, " that uid ", ::geteuid(), " may see"));
}

std::string ScopeNote(const Options& options) {
  struct stat info = {};
  const uid_t uid = ::geteuid();
  const std::string socket = absl::StrCat(options.runtime_dir, "/", kGrpcSocketName);
  if (uid == 0 || (::stat(socket.c_str(), &info) == 0 && info.st_uid == uid)) return "";
  return absl::StrCat("(what uid ", uid, " may see: its own, or all if admin_uids or admin_gids names it)\n");
}

absl::StatusOr<Reply> RunCommand(const Options& options, const Style& style) {
  using Function = absl::StatusOr<Reply> (*)(const Options&, const Style&);
  static const auto* const commands = new std::map<std::string, Function>{{"status", Status},
                                                                          {"devices", Devices},
                                                                          {"sessions", Sessions},
                                                                          {"groups", Groups},
                                                                          {"buffers", Buffers},
                                                                          {"stats", Counters},
                                                                          {"health", Health},
                                                                          {"doctor", Doctor},
                                                                          {"drain", Drain},
                                                                          {"undrain", Undrain},
                                                                          {"revoke", Revoke},
                                                                          {"reload", Reload},
                                                                          {"config check", ConfigCheck},
                                                                          {"version", Version}};
  return commands->at(options.command)(options, style);
}

}  // namespace a8a::ctl
