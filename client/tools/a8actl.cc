// a8actl: looks at a running a8a-daemon and administrates it.
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/tools/ctl/command_line.h"
#include "client/tools/ctl/commands.h"
#include "client/tools/ctl/display_text.h"
#include "client/tools/ctl/rates.h"
#include "client/tools/ctl/screen.h"

namespace a8a::ctl {
namespace {

// How soon `top` has something to show.
constexpr absl::Duration kFirstInterval = absl::Milliseconds(500);

std::string ErrorLine(const absl::Status& status) {
  return absl::StrCat("a8actl: ", Printable(status.message()), "\n");
}

// Names cannot hold what is no UTF-8, since protobuf refuses it; paths can.
std::string ToText(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

int RunOnce(const Options& options) {
  const absl::StatusOr<Reply> reply = RunCommand(options, StdoutStyle());
  if (!reply.ok()) {
    std::fputs(ErrorLine(reply.status()).c_str(), stderr);
    return ExitStatusOf(reply.status());
  }
  const std::string text = options.json ? ToText(reply->json, /*indent=*/2) : reply->text;
  const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  return written ? reply->exit_status : kExitFailed;
}

// The view of `top`: what happened since the last one.
class Top {
 public:
  absl::StatusOr<Reply> Next(const Options& options, const Style& style) {
    absl::StatusOr<v1::Stats> now = TakeSnapshot(options);
    if (!now.ok()) return now.status();
    const bool first = !before_.has_value();
    const Rates rates = ComputeRates(first ? *now : *before_, *now);
    Reply reply{RatesJson(rates), RatesView(rates, *now, style) + ScopeNote(options)};
    before_ = *std::move(now);
    return reply;
  }

 private:
  std::optional<v1::Stats> before_;
};

// A daemon that goes is shown as such: it may come back while somebody looks.
std::string ViewText(const Options& options, const absl::StatusOr<Reply>& reply) {
  if (!reply.ok()) {
    return options.json ? ToText({{"error", std::string(reply.status().message())}}, /*indent=*/-1)
                        : ErrorLine(reply.status());
  }
  return options.json ? ToText(reply->json, /*indent=*/-1) : reply->text;
}

// Shows views until somebody quits or all are shown; returns the exit status of the last one. `signal`: what ended it.
// Whoever starts it without a daemon, or with a wrong id, is told as by any other command.
int Watch(const Options& options, int* signal) {
  if (options.command != "doctor") {
    const absl::StatusOr<v1::Stats> stats = TakeSnapshot(options);
    if (!stats.ok()) {
      std::fputs(ErrorLine(stats.status()).c_str(), stderr);
      return ExitStatusOf(stats.status());
    }
  }
  Screen screen(options.json ? "" : "\n");
  Top top;
  const bool is_top = options.command == "top";
  const absl::Duration interval = absl::Seconds(options.interval_seconds);
  if (is_top && top.Next(options, {}).ok() && screen.Wait(std::min(interval, kFirstInterval)) == Screen::Wake::kQuit) {
    *signal = screen.signal();
    return kExitOk;
  }
  for (int shown = 1;; ++shown) {
    const Style style = StdoutStyle();
    const absl::StatusOr<Reply> reply = is_top ? top.Next(options, style) : RunCommand(options, style);
    if (!screen.Show(ViewText(options, reply))) return kExitFailed;
    const int exit_status = reply.ok() ? reply->exit_status : ExitStatusOf(reply.status());
    if (shown == options.count) return exit_status;
    if (screen.Wait(interval) == Screen::Wake::kQuit) {
      *signal = screen.signal();
      return exit_status;
    }
  }
}

// Ends by the signal that was held back, so that a shell sees what ended it.
int EndBySignal(int signal, int exit_status) {
  if (signal == 0) return exit_status;
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  return exit_status;
}

int Main(int argc, char** argv) {
  Options options;
  if (const std::optional<int> exit_status = ParseCommandLine(argc, argv, &options)) return *exit_status;
  if (!options.watch && options.command != "top") return RunOnce(options);
  int signal = 0;
  const int exit_status = Watch(options, &signal);
  return EndBySignal(signal, exit_status);
}

}  // namespace
}  // namespace a8a::ctl

int main(int argc, char** argv) { return a8a::ctl::Main(argc, argv); }
