// The daemon's options: one table from which flags, config file and --help are made.
//
// A flag is the option's name with '-' (--drain-timeout 30s), a key of the config file the same name with '_'
// (drain_timeout = "30s"); of an option of a table the name begins with the table's (--metrics-port, [metrics] port).
// Flags win over the file, the file over the defaults.
#ifndef A8A_DAEMON_OPTIONS_H_
#define A8A_DAEMON_OPTIONS_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/log.h"
#include "daemon/memory/cuda_memory.h"
#include "daemon/memory/host_memory.h"
#include "proto/fd_protocol.h"

namespace a8a::daemon {

enum class Backend { kAuto, kHost, kCuda };
// Whether windows may lie on memory of the ranks' own, shared by legacy IPC handles.
enum class LegacyIpc { kAuto, kOn, kOff };

// Where the Unix socket of the metrics lies, if it is no path.
inline constexpr char kMetricsSocketOn[] = "on";  // metrics.sock in the runtime directory
inline constexpr char kMetricsSocketOff[] = "off";

struct Options {
  std::string runtime_dir = kDefaultRuntimeDir;
  Backend backend = Backend::kAuto;
  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
  absl::Duration drain_timeout = absl::Seconds(30);
  absl::Duration health_interval = absl::Seconds(10);
  std::int64_t host_pool_bytes = 0;  // 0: half of the machine's memory
  HugePages host_huge_pages = HugePages::kOff;
  bool host_prefault = false;
  int host_numa_node = -1;  // -1: as the kernel places it
  CudaMemoryOptions cuda_memory;
  int session_max = 1024;
  int group_max = 256;
  int buffer_max = 65536;
  absl::Duration ticket_lifetime = absl::Seconds(10);
  int connection_max_per_uid = 1024;
  int session_max_per_uid = 512;
  int group_max_per_uid = 128;
  int window_max_per_uid = 4096;
  int buffer_max_per_uid = 32768;
  std::int64_t bytes_max_per_uid = 0;   // of each device; 0: its pool limit
  int descriptor_max_per_uid = 0;       // 0: half of RLIMIT_NOFILE
  int request_rate_max_per_uid = 2000;  // a second
  std::vector<uid_t> admin_uids;
  std::vector<gid_t> admin_gids;
  // Who may connect besides root, the daemon's own uid and administrators; both empty: whom the sockets' mode lets in.
  std::vector<uid_t> allowed_uids;
  std::vector<gid_t> allowed_gids;
  mode_t socket_mode = 0660;
  std::string socket_group;  // name or number; empty: the daemon's own
  LegacyIpc legacy_ipc = LegacyIpc::kAuto;
  std::string metrics_socket = kMetricsSocketOn;
  mode_t metrics_socket_mode = 0600;
  std::string metrics_socket_group;
  int metrics_port = 0;  // 0: none
  int metrics_rank_max = 256;
};

// What legacy_ipc comes to: kAuto allows where one uid (and root) can connect, by socket_mode or allowed_uids.
[[nodiscard]] bool AllowsLegacyIpc(const Options& options);

// How a value is written in the config file.
enum class TomlType { kString, kInteger, kBoolean, kStringOrInteger, kIntegerList };

// One row of the table. `parse` and `format` are inverse to each other; the file's values come as text too.
struct OptionSpec {
  std::string name;             // "drain-timeout"
  std::string value_name = {};  // "DURATION"; empty for a switch
  std::string help = {};
  TomlType toml_type = TomlType::kString;
  // Takes effect by ReloadConfig or SIGHUP; otherwise at the next start.
  bool live = false;
  // The error says what was given and what is allowed, without the option's name.
  std::function<absl::Status(absl::string_view text, Options* options)> parse = nullptr;
  std::function<std::string(const Options& options)> format = nullptr;

  // The table of the config file that its key stands in; empty: none.
  std::string table = {};

  // "drain_timeout", or "metrics.port" where there is a table.
  [[nodiscard]] std::string key() const;
};

[[nodiscard]] const std::vector<OptionSpec>& OptionTable();

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_OPTIONS_H_
