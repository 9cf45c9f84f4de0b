#include "daemon/options.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <set>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

// Bytes of a socket's path without the terminating NUL. [unix(7)]
constexpr std::size_t kSocketPathBytesMax = 107;
// Enough for every human operator and service of a node; each costs a comparison per call or connection.
constexpr std::size_t kIdsMax = 64;

absl::Status Refused(absl::string_view text, absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not allowed; allowed: ", allowed));
}

template <typename T>
using Choices = std::vector<std::pair<std::string, T>>;

template <typename T>
std::string ChoiceNames(const Choices<T>& choices, absl::string_view separator) {
  return absl::StrJoin(choices, separator,
                       [](std::string* out, const auto& choice) { absl::StrAppend(out, choice.first); });
}

template <typename T>
OptionSpec ChoiceOption(std::string name, T Options::*field, Choices<T> choices, std::string help) {
  OptionSpec spec{.name = std::move(name), .value_name = ChoiceNames(choices, "|"), .help = std::move(help)};
  spec.parse = [field, choices](absl::string_view text, Options* options) {
    for (const auto& [choice, value] : choices) {
      if (text != choice) continue;
      options->*field = value;
      return absl::OkStatus();
    }
    return Refused(text, ChoiceNames(choices, ", "));
  };
  spec.format = [field, choices](const Options& options) {
    for (const auto& [choice, value] : choices) {
      if (options.*field == value) return choice;
    }
    return std::string();
  };
  return spec;
}

OptionSpec IntegerOption(std::string name, int Options::*field, int min, int max, std::string help) {
  OptionSpec spec{.name = std::move(name), .value_name = "N", .help = std::move(help)};
  spec.toml_type = TomlType::kInteger;
  spec.parse = [=](absl::string_view text, Options* options) {
    int value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < min || value > max) {
      return Refused(text, absl::StrCat("integers from ", min, " to ", max));
    }
    options->*field = value;
    return absl::OkStatus();
  };
  spec.format = [field](const Options& options) { return absl::StrCat(options.*field); };
  return spec;
}

OptionSpec DurationOption(std::string name, absl::Duration Options::*field, absl::Duration min, absl::Duration max,
                          std::string help) {
  OptionSpec spec{.name = std::move(name), .value_name = "DURATION", .help = std::move(help)};
  spec.parse = [=](absl::string_view text, Options* options) {
    absl::Duration value;
    if (!absl::ParseDuration(text, &value) || value < min || value > max) {
      return Refused(text, absl::StrCat("durations with a unit, like 500ms or 5s, from ", absl::FormatDuration(min),
                                        " to ", absl::FormatDuration(max)));
    }
    options->*field = value;
    return absl::OkStatus();
  };
  spec.format = [field](const Options& options) { return absl::FormatDuration(options.*field); };
  return spec;
}

// Accepts 4096, 4KiB, 64MiB, 1GiB, 2TiB.
absl::StatusOr<std::int64_t> ParseSize(absl::string_view text) {
  constexpr std::pair<absl::string_view, int> kUnits[] = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
  int shift = 0;
  absl::string_view digits = text;
  for (const auto& [unit, unit_shift] : kUnits) {
    if (absl::ConsumeSuffix(&digits, unit)) shift = unit_shift;
  }
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(digits, &value) || value < 0 || value > (kMaxBufferBytes >> shift)) {
    return Refused(text, "bytes from 0 to 1024TiB, as a number or with KiB, MiB, GiB or TiB");
  }
  return value << shift;
}

OptionSpec SizeOption(std::string name, std::int64_t Options::*field, std::string help) {
  OptionSpec spec{.name = std::move(name), .value_name = "SIZE", .help = std::move(help)};
  spec.toml_type = TomlType::kStringOrInteger;
  spec.parse = [field](absl::string_view text, Options* options) {
    A8A_ASSIGN_OR_RETURN(options->*field, ParseSize(text));
    return absl::OkStatus();
  };
  spec.format = [field](const Options& options) { return absl::StrCat(options.*field); };
  return spec;
}

OptionSpec SwitchOption(std::string name, bool Options::*field, std::string help) {
  OptionSpec spec{.name = std::move(name), .help = std::move(help), .toml_type = TomlType::kBoolean};
  spec.parse = [field](absl::string_view text, Options* options) {
    if (text != "true" && text != "false") return Refused(text, "true, false");
    options->*field = text == "true";
    return absl::OkStatus();
  };
  spec.format = [field](const Options& options) { return options.*field ? "true" : "false"; };
  return spec;
}

absl::Status ParseRuntimeDir(absl::string_view text, Options* options) {
  const std::size_t path_bytes = text.size() + 1 + absl::string_view(kGrpcSocketName).size();
  if (text.empty() || path_bytes > kSocketPathBytesMax) {
    return Refused(text, absl::StrCat("a directory whose socket path, here of ", path_bytes, " bytes, has at most ",
                                      kSocketPathBytesMax));
  }
  options->runtime_dir = std::string(text);
  return absl::OkStatus();
}

// SIZE for every device, DEVICE=SIZE for one, or several of them with commas between.
absl::Status ParseCudaPoolBytes(absl::string_view text, Options* options) {
  CudaMemoryOptions parsed;
  for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(item, absl::MaxSplits('=', 1));
    const bool for_all = !absl::StrContains(item, '=');
    A8A_ASSIGN_OR_RETURN(const std::int64_t bytes, ParseSize(for_all ? parts.first : parts.second));
    if (for_all) {
      parsed.pool_limit_bytes = bytes;
    } else if (!parsed.pool_limit_bytes_by_device.emplace(parts.first, bytes).second) {
      return Refused(text, "one size for each device");
    }
  }
  options->cuda_memory = std::move(parsed);
  return absl::OkStatus();
}

std::string FormatCudaPoolBytes(const Options& options) {
  std::string text = absl::StrCat(options.cuda_memory.pool_limit_bytes);
  for (const auto& [device, bytes] : options.cuda_memory.pool_limit_bytes_by_device) {
    absl::StrAppend(&text, ",", device, "=", bytes);
  }
  return text;
}

absl::Status ParseMode(absl::string_view text, mode_t* mode) {
  const bool octal = text.size() == 4 && text[0] == '0' &&
                     std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '7'; });
  if (!octal) return Refused(text, "four octal digits from 0000 to 0777, like 0660");
  *mode = static_cast<mode_t>((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
  return absl::OkStatus();
}

OptionSpec RuntimeDirOption() {
  return {.name = "runtime-dir",
          .value_name = "DIR",
          .help = "Directory of a8a.sock, fd.sock and a8a.pid; made if it is missing",
          .parse = &ParseRuntimeDir,
          .format = [](const Options& options) { return options.runtime_dir; }};
}

// A list of uids or gids, which are the same type to the compiler.
OptionSpec IdsOption(std::string name, std::string value_name, std::vector<uid_t> Options::*field, std::string help) {
  OptionSpec spec{.name = std::move(name), .value_name = std::move(value_name), .help = std::move(help)};
  spec.toml_type = TomlType::kIntegerList;
  spec.live = true;
  spec.parse = [field](absl::string_view text, Options* options) {
    std::vector<uid_t> ids;
    for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipEmpty())) {
      uid_t id = 0;
      if (!absl::SimpleAtoi(item, &id)) return Refused(item, "ids from 0 to 4294967295");
      ids.push_back(id);
    }
    if (ids.size() > kIdsMax) {
      return Refused(text, absl::StrCat("at most ", kIdsMax, " ids, here are ", ids.size()));
    }
    options->*field = std::move(ids);
    return absl::OkStatus();
  };
  spec.format = [field](const Options& options) { return absl::StrJoin(options.*field, ","); };
  return spec;
}

OptionSpec ModeOption(std::string name, mode_t Options::*field, std::string help) {
  OptionSpec spec{.name = std::move(name), .value_name = "MODE", .help = std::move(help)};
  spec.parse = [field](absl::string_view text, Options* options) { return ParseMode(text, &(options->*field)); };
  spec.format = [field](const Options& options) { return absl::StrFormat("%04o", options.*field); };
  return spec;
}

// Who has it is looked up when it is used.
OptionSpec GroupOption(std::string name, std::string Options::*field, std::string help) {
  OptionSpec spec{.name = std::move(name), .value_name = "GROUP", .help = std::move(help)};
  spec.parse = [field](absl::string_view text, Options* options) {
    options->*field = std::string(text);
    return absl::OkStatus();
  };
  spec.format = [field](const Options& options) { return options.*field; };
  return spec;
}

absl::Status ParseMetricsSocket(absl::string_view text, Options* options) {
  const bool is_path = absl::StartsWith(text, "/") && !absl::EndsWith(text, "/") && text.size() <= kSocketPathBytesMax;
  if (text != kMetricsSocketOn && text != kMetricsSocketOff && !is_path) {
    return Refused(text, absl::StrCat("on, off, or an absolute path of at most ", kSocketPathBytesMax, " bytes"));
  }
  options->metrics_socket = std::string(text);
  return absl::OkStatus();
}

OptionSpec MetricsSocketOption() {
  return {.name = "metrics-socket",
          .value_name = "on|off|PATH",
          .help = "Serve metrics over HTTP on a Unix socket; on: metrics.sock in the runtime directory",
          .parse = &ParseMetricsSocket,
          .format = [](const Options& options) { return options.metrics_socket; }};
}

OptionSpec Live(OptionSpec spec) {
  spec.live = true;
  return spec;
}

std::vector<OptionSpec> GeneralOptions() {
  return {
      RuntimeDirOption(),
      ChoiceOption<Backend>("backend", &Options::backend,
                            {{"auto", Backend::kAuto}, {"host", Backend::kHost}, {"cuda", Backend::kCuda}},
                            "Memory to lease; auto: CUDA where a GPU is usable, else host"),
      ChoiceOption<LogFormat>("log-format", &Options::log_format,
                              {{"text", LogFormat::kText}, {"json", LogFormat::kJson}}, "Format of the log on stderr"),
      Live(ChoiceOption<LogLevel>("log-level", &Options::log_level,
                                  {{"debug", LogLevel::kDebug},
                                   {"info", LogLevel::kInfo},
                                   {"warning", LogLevel::kWarning},
                                   {"error", LogLevel::kError}},
                                  "Least severe events that are logged")),
      Live(DurationOption("drain-timeout", &Options::drain_timeout, absl::ZeroDuration(), absl::Hours(24),
                          "How long running groups may go on after SIGTERM; 0s: without limit")),
      Live(DurationOption("health-interval", &Options::health_interval, absl::Milliseconds(50), absl::Hours(1),
                          "Within this time health tells of a fault; checks are made four times in it")),
  };
}

std::vector<OptionSpec> HostOptions() {
  return {
      SizeOption("host-pool-bytes", &Options::host_pool_bytes,
                 "Limit of all leases of host memory together; 0: half of the machine's memory"),
      ChoiceOption<HugePages>(
          "host-huge-pages", &Options::host_huge_pages,
          {{"off", HugePages::kOff}, {"transparent", HugePages::kTransparent}, {"hugetlb", HugePages::kHugetlb}},
          "Huge pages for host memory"),
      SwitchOption("host-prefault", &Options::host_prefault, "Allocate the pages of host memory with the lease"),
      IntegerOption("host-numa-node", &Options::host_numa_node, -1, 1023,
                    "NUMA node of host memory; -1: as the kernel places it"),
  };
}

OptionSpec CudaPoolBytesOption() {
  return {.name = "cuda-pool-bytes",
          .value_name = "SIZE|DEVICE=SIZE,...",
          .help = "Limit of all leases of a GPU together, for all GPUs or by cuda:N or GPU-UUID; 0: half of its memory",
          .toml_type = TomlType::kStringOrInteger,
          .parse = &ParseCudaPoolBytes,
          .format = &FormatCudaPoolBytes};
}

std::vector<OptionSpec> LimitOptions() {
  return {
      IntegerOption("session-max", &Options::session_max, 1, 65536, "Sessions at once"),
      IntegerOption("group-max", &Options::group_max, 1, 65536, "Groups at once"),
      IntegerOption("buffer-max", &Options::buffer_max, 1, 1 << 20,
                    "Buffers at once; each holds a descriptor of the daemon"),
      DurationOption("ticket-lifetime", &Options::ticket_lifetime, absl::Milliseconds(10), absl::Minutes(10),
                     "How long a ticket may be redeemed"),
      ModeOption("socket-mode", &Options::socket_mode, "Permissions of both sockets, in octal"),
      GroupOption("socket-group", &Options::socket_group,
                  "Group of both sockets, by name or number; empty: the daemon's own"),
      ChoiceOption<LegacyIpc>("legacy-ipc", &Options::legacy_ipc,
                              {{"auto", LegacyIpc::kAuto}, {"on", LegacyIpc::kOn}, {"off", LegacyIpc::kOff}},
                              "Windows on GPU memory of the clients' own; auto: where one uid only can connect"),
  };
}

std::vector<OptionSpec> UidLimitOptions() {
  return {
      Live(IntegerOption("connection-max-per-uid", &Options::connection_max_per_uid, 1, 65536,
                         "Connections of one uid at once, on each socket")),
      Live(
          IntegerOption("session-max-per-uid", &Options::session_max_per_uid, 1, 65536, "Sessions of one uid at once")),
      Live(IntegerOption("group-max-per-uid", &Options::group_max_per_uid, 1, 65536, "Groups of one uid at once")),
      Live(IntegerOption("window-max-per-uid", &Options::window_max_per_uid, 1, 1 << 20,
                         "Windows of one uid at once, in all its groups together")),
      Live(IntegerOption("buffer-max-per-uid", &Options::buffer_max_per_uid, 1, 1 << 20,
                         "Buffers of one uid at once, those of its windows and groups included")),
      Live(SizeOption("bytes-max-per-uid", &Options::bytes_max_per_uid,
                      "Limit of one uid's leases on each device; 0: all of the device's pool")),
      Live(IntegerOption("descriptor-max-per-uid", &Options::descriptor_max_per_uid, 0, 1 << 20,
                         "The daemon's descriptors that serve one uid; 0: half of RLIMIT_NOFILE")),
      Live(IntegerOption("request-rate-max-per-uid", &Options::request_rate_max_per_uid, 1, 1000000,
                         "Requests of one uid in a second; those of administrators are not counted")),
  };
}

std::vector<OptionSpec> AccessOptions() {
  return {
      IdsOption("admin-uids", "UID,...", &Options::admin_uids,
                "Who may administrate besides root and the daemon's own uid"),
      IdsOption("admin-gids", "GID,...", &Options::admin_gids, "Groups whose members may administrate too"),
      IdsOption("allowed-uids", "UID,...", &Options::allowed_uids,
                "Who may connect, besides administrators; no uids and no gids: whom socket-mode lets in"),
      IdsOption("allowed-gids", "GID,...", &Options::allowed_gids, "Groups whose members may connect too"),
  };
}

std::vector<OptionSpec> MetricsOptions() {
  std::vector<OptionSpec> options = {
      MetricsSocketOption(),
      ModeOption("metrics-socket-mode", &Options::metrics_socket_mode,
                 "Permissions of that socket; who reads it sees the groups of all uids"),
      GroupOption("metrics-socket-group", &Options::metrics_socket_group,
                  "Group of that socket, by name or number; empty: the daemon's own"),
      IntegerOption("metrics-port", &Options::metrics_port, 0, 65535,
                    "Serve metrics over HTTP on this port of 127.0.0.1, to every user of the machine; 0: on none"),
      IntegerOption("metrics-rank-max", &Options::metrics_rank_max, 0, 16384,
                    "Ranks with metrics of their own, of all groups together"),
  };
  for (OptionSpec& option : options) option.table = "metrics";
  return options;
}

std::vector<OptionSpec> MakeTable() {
  std::vector<OptionSpec> table = GeneralOptions();
  for (OptionSpec& spec : HostOptions()) table.push_back(std::move(spec));
  table.push_back(CudaPoolBytesOption());
  for (const auto& options : {&LimitOptions, &UidLimitOptions, &AccessOptions, &MetricsOptions}) {
    for (OptionSpec& spec : options()) table.push_back(std::move(spec));
  }
  return table;
}

}  // namespace

bool AllowsLegacyIpc(const Options& options) {
  if (options.legacy_ipc != LegacyIpc::kAuto) return options.legacy_ipc == LegacyIpc::kOn;
  constexpr mode_t kOthers = 0077;
  if ((options.socket_mode & kOthers) == 0) return true;
  if (options.allowed_uids.empty() || !options.allowed_gids.empty() || !options.admin_gids.empty()) return false;
  std::set<uid_t> uids(options.allowed_uids.begin(), options.allowed_uids.end());
  uids.insert(options.admin_uids.begin(), options.admin_uids.end());
  uids.insert(::geteuid());
  uids.erase(0);
  return uids.size() <= 1;
}

std::string OptionSpec::key() const {
  const std::string key = absl::StrReplaceAll(name, {{"-", "_"}});
  return table.empty() ? key : absl::StrCat(table, ".", key.substr(table.size() + 1));
}

const std::vector<OptionSpec>& OptionTable() {
  static const auto* const table = new std::vector<OptionSpec>(MakeTable());
  return *table;
}

}  // namespace a8a::daemon
