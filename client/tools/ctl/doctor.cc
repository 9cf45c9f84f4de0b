#include "client/tools/ctl/doctor.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/src/unix_socket.h"
#include "client/tools/ctl/daemon.h"
#include "client/tools/ctl/display_text.h"
#include "client/tools/ctl/doctor_gpu.h"
#include "client/tools/ctl/format.h"
#include "kernels/base/version.h"
#include "proto/fd_protocol.h"

namespace a8a::ctl {
namespace {

constexpr double kNearlyFull = 0.9;
// Fewer descriptors than this do not do for a node's usual load: each buffer, session and group holds some.
constexpr std::int64_t kDescriptorsMin = 4096;
constexpr char kStartIt[] =
    "start a8a-daemon with this runtime directory, or name the daemon's by --runtime-dir; its log says why it ended";

std::string GroupName(gid_t gid) {
  const group* const entry = ::getgrgid(gid);
  return entry == nullptr ? absl::StrCat(gid) : entry->gr_name;
}

Finding RuntimeDirectory(const std::string& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) {
    return {"runtime_dir", Verdict::kFailed, absl::StrCat(path, ": ", std::strerror(errno)), kStartIt};
  }
  if (!S_ISDIR(info.st_mode)) {
    return {"runtime_dir", Verdict::kFailed, absl::StrCat(path, " is no directory"), kStartIt};
  }
  if ((info.st_mode & S_IWOTH) != 0) {
    return {"runtime_dir", Verdict::kFailed, absl::StrCat(path, " is writable by everybody, who could replace sockets"),
            absl::StrCat("chmod o-w ", path)};
  }
  if (::access(path.c_str(), X_OK) != 0) {
    return {"runtime_dir", Verdict::kFailed, absl::StrCat(path, ": ", std::strerror(errno)),
            absl::StrCat("chmod o+x ", path, ": the sockets have permissions of their own")};
  }
  return {"runtime_dir", Verdict::kOk, absl::StrCat(path, " of uid ", info.st_uid)};
}

std::string MendSocket(const absl::Status& status, const std::string& path) {
  struct stat info = {};
  if (!absl::IsPermissionDenied(status) || ::stat(path.c_str(), &info) != 0) return kStartIt;
  return absl::StrCat("usermod -aG ", GroupName(info.st_gid), " USER and log in again, or set socket_group and ",
                      "socket_mode of the daemon");
}

Finding Socket(const std::string& check, const std::string& path, int type, absl::Duration timeout) {
  const auto socket = client::ConnectUnixSocket(path, type, absl::Now() + timeout);
  if (socket.ok()) return {check, Verdict::kOk, absl::StrCat(path, " takes connections")};
  return {check, Verdict::kFailed, std::string(socket.status().message()), MendSocket(socket.status(), path)};
}

Finding VersionFinding(const v1::DaemonStats& daemon) {
  if (daemon.version() == kVersion) return {"versions", Verdict::kOk, absl::StrCat("both are ", kVersion)};
  return {"versions", Verdict::kWarning,
          absl::StrCat("the daemon is ", daemon.version(), ", this program is ", kVersion),
          "install the same version of both; the daemon that runs is the old one until it is restarted"};
}

Finding HealthFinding(Daemon* daemon, const v1::Stats& stats) {
  const absl::StatusOr<std::string> health = daemon->CheckHealth("");
  if (!health.ok()) return {"health", Verdict::kFailed, std::string(health.status().message()), "restart the daemon"};
  if (*health == "SERVING") return {"health", Verdict::kOk, "SERVING"};
  if (stats.daemon().draining()) {
    return {"health", Verdict::kWarning, "the daemon drains and takes nothing new", "a8actl undrain"};
  }
  std::string text = *health;
  for (const v1::DeviceStats& device : stats.devices()) {
    if (!device.healthy()) absl::StrAppend(&text, "; device ", device.device().name(), " is unhealthy");
  }
  return {"health", Verdict::kFailed, text,
          "a8actl health names the part, the daemon's log the reason (device_unhealthy, part_unhealthy)"};
}

Finding Pool(const v1::DeviceStats& device) {
  const double leased = static_cast<double>(device.leased_bytes());
  const double limit = static_cast<double>(device.device().pool_limit_bytes());
  const std::string text =
      absl::StrCat(device.device().name(), ": ", FormatBytes(leased), " of ", FormatBytes(limit), " leased");
  if (leased < kNearlyFull * limit) return {"pool", Verdict::kOk, text};
  return {"pool", Verdict::kWarning, text,
          absl::StrCat("a8actl sessions says who holds it; raise ",
                       device.device().kind() == v1::DEVICE_KIND_CUDA ? "cuda_pool_bytes" : "host_pool_bytes",
                       " and restart")};
}

// What the kernel can give without swapping; unset where it does not say.
std::optional<std::int64_t> MemoryAvailableBytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::int64_t kib = 0;
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() > 1 && words[0] == "MemAvailable:" && absl::SimpleAtoi(words[1], &kib)) return kib * 1024;
  }
  return std::nullopt;
}

Finding Memory(const v1::DeviceStats& device) {
  const std::optional<std::int64_t> available = MemoryAvailableBytes();
  if (!available.has_value()) return {"memory", Verdict::kSkipped, "/proc/meminfo does not say"};
  const std::int64_t left = device.device().pool_limit_bytes() - device.leased_bytes();
  const std::string text = absl::StrCat("the pool may lease ", FormatBytes(static_cast<double>(left)),
                                        " more, the machine has ", FormatBytes(static_cast<double>(*available)));
  if (left <= *available) return {"memory", Verdict::kOk, text};
  return {"memory", Verdict::kWarning, text, "lower host_pool_bytes, or end what else takes memory"};
}

// "Max open files" of a process; unset where this user may not see it, 0 for unlimited.
std::optional<std::int64_t> DescriptorLimit(int pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/limits"));
  for (std::string line; std::getline(file, line);) {
    std::int64_t limit = 0;
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (!absl::StartsWith(line, "Max open files") || words.size() < 4) continue;
    return absl::SimpleAtoi(words[3], &limit) ? limit : 0;
  }
  return std::nullopt;
}

Finding Limits(int pid) {
  std::error_code error;
  const std::filesystem::directory_iterator open(absl::StrCat("/proc/", pid, "/fd"), error);
  const std::optional<std::int64_t> limit = DescriptorLimit(pid);
  if (error || !limit.has_value()) {
    return {"limits", Verdict::kSkipped, "only root and the daemon's own uid see the daemon's descriptors"};
  }
  const auto count = std::distance(open, std::filesystem::directory_iterator());
  const std::string text = absl::StrCat(count, " of ", *limit == 0 ? "unlimited" : absl::StrCat(*limit),
                                        " descriptors of the daemon are open");
  const bool tight = *limit != 0 && (*limit < kDescriptorsMin ||
                                     static_cast<double>(count) >= kNearlyFull * static_cast<double>(*limit));
  if (!tight) return {"limits", Verdict::kOk, text};
  return {"limits", Verdict::kWarning, text,
          "raise LimitNOFILE= of the service (ulimit -n of the shell) above buffer_max and restart"};
}

Finding Permissions(const std::string& socket_path) {
  struct stat info = {};
  const uid_t uid = ::geteuid();
  const bool administrator = uid == 0 || (::stat(socket_path.c_str(), &info) == 0 && info.st_uid == uid);
  if (administrator) return {"permissions", Verdict::kOk, absl::StrCat("uid ", uid, " may administrate")};
  return {"permissions", Verdict::kOk,
          absl::StrCat("uid ", uid, " may use the daemon, and administrate where admin_uids or admin_gids names it")};
}

std::vector<Finding> ExamineDaemon(Daemon* daemon, const v1::Stats& stats, const std::string& socket_path) {
  std::vector<Finding> findings = {{"daemon", Verdict::kOk, absl::StrCat("answers, pid ", stats.daemon().pid())},
                                   HealthFinding(daemon, stats),
                                   VersionFinding(stats.daemon()),
                                   Permissions(socket_path),
                                   Limits(stats.daemon().pid())};
  for (const v1::DeviceStats& device : stats.devices()) {
    findings.push_back(Pool(device));
    if (device.device().kind() == v1::DEVICE_KIND_HOST) findings.push_back(Memory(device));
  }
  return findings;
}

Color ColorOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return Color::kGood;
    case Verdict::kWarning:
      return Color::kWarning;
    case Verdict::kFailed:
      return Color::kBad;
    case Verdict::kSkipped:
      break;
  }
  return Color::kNone;
}

// In JSON and, in capitals of the terminal's color, in text.
const char* NameOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kFailed:
      return "failed";
    case Verdict::kSkipped:
      break;
  }
  return "skipped";
}

// `text` in lines of at most `width` columns, broken at spaces; all but the first begin with `indent`.
std::string Wrap(absl::string_view text, int width, const std::string& indent) {
  std::string wrapped;
  int used = 0;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    const int word_width = DisplayWidth(word);
    if (used > 0 && width > 0 && used + 1 + word_width > width) {
      absl::StrAppend(&wrapped, "\n", indent);
      used = 0;
    }
    absl::StrAppend(&wrapped, used > 0 ? " " : "", word);
    used += word_width + (used > 0 ? 1 : 0);
  }
  return wrapped;
}

}  // namespace

std::vector<Finding> Examine(const std::string& runtime_dir, absl::Duration timeout) {
  const std::string socket_path = absl::StrCat(runtime_dir, "/", kGrpcSocketName);
  std::vector<Finding> findings = {
      RuntimeDirectory(runtime_dir), Socket("grpc_socket", socket_path, SOCK_STREAM, timeout),
      Socket("fd_socket", absl::StrCat(runtime_dir, "/", kFdSocketName), SOCK_SEQPACKET, timeout)};
  int daemon_gpu_count = -1;
  if (const auto daemon = Daemon::Connect(runtime_dir, timeout); daemon.ok()) {
    const absl::StatusOr<v1::Stats> stats = (*daemon)->GetStats(0);
    if (stats.ok()) {
      const std::vector<Finding> more = ExamineDaemon(daemon->get(), *stats, socket_path);
      findings.insert(findings.end(), more.begin(), more.end());
      daemon_gpu_count =
          static_cast<int>(std::count_if(stats->devices().begin(), stats->devices().end(), [](const auto& device) {
            return device.device().kind() == v1::DEVICE_KIND_CUDA;
          }));
    } else {
      findings.push_back({"daemon", Verdict::kFailed, std::string(stats.status().message()),
                          "have your uid named in allowed_uids, or restart a daemon that does not answer"});
    }
  }
  const std::vector<Finding> gpus = ExamineGpus(daemon_gpu_count);
  findings.insert(findings.end(), gpus.begin(), gpus.end());
  return findings;
}

bool AnyFailed(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.verdict == Verdict::kFailed; });
}

std::string FindingsView(const std::vector<Finding>& findings, const Style& style) {
  constexpr int kVerdictWidth = 9;
  constexpr int kCheckWidth = 18;
  constexpr int kIndent = kVerdictWidth + kCheckWidth;
  const std::string indent(kIndent, ' ');
  const int width = style.width == 0 ? 0 : std::max(style.width - kIndent, 20);
  const auto pad = [](absl::string_view text, int columns) {
    return std::string(static_cast<std::size_t>(std::max(columns - DisplayWidth(text), 1)), ' ');
  };
  std::string text;
  for (const Finding& finding : findings) {
    const std::string verdict = NameOf(finding.verdict);
    absl::StrAppend(&text, Paint(verdict, ColorOf(finding.verdict), style), pad(verdict, kVerdictWidth), finding.check,
                    pad(finding.check, kCheckWidth), Wrap(Printable(finding.text), width, indent), "\n");
    if (finding.mend.empty()) continue;
    absl::StrAppend(&text, indent, Wrap(absl::StrCat("mend: ", Printable(finding.mend)), width, indent), "\n");
  }
  return text;
}

nlohmann::ordered_json FindingsJson(const std::vector<Finding>& findings) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"check", finding.check},
                    {"verdict", NameOf(finding.verdict)},
                    {"text", finding.text},
                    {"mend", finding.mend.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(finding.mend)}});
  }
  return list;
}

}  // namespace a8a::ctl
