#include "daemon/command_line.h"

#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <cstdio>
#include <iostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "daemon/config_file.h"
#include "daemon/failpoint.h"
#include "kernels/base/man_page.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/version.h"

namespace a8a::daemon {
namespace {

void AddOption(const OptionSpec& spec, std::string* text, CLI::App* app) {
  const std::string flag = absl::StrCat("--", spec.name);
  CLI::Option* option = spec.value_name.empty() ? app->add_flag(flag, *text, spec.help)
                                                : app->add_option(flag, *text, spec.help)->type_name(spec.value_name);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  if (!spec.value_name.empty()) option->default_str(spec.format(Options()));
}

std::string DaemonPage(const CLI::App& app) {
  const std::string dir = Options().runtime_dir;
  return ManPage(
      app,
      {.section = 8,
       .extras = {{"Files",
                   {{kDefaultConfigPath, "The config file. There need be none."},
                    {absl::StrCat(dir, "/", kGrpcSocketName),
                     "The socket of gRPC: a8a.v1, grpc.health.v1, reflection."},
                    {absl::StrCat(dir, "/", kFdSocketName), "The socket that descriptors of memory go through."},
                    {absl::StrCat(dir, "/", kLockFileName), "The daemon's process id; locked while it runs."},
                    {absl::StrCat(dir, "/state"), "What the next daemon takes up; of this boot only."}}},
                  {"Environment",
                   {{"LISTEN_FDS, LISTEN_PID", "Both sockets are passed, by systemd or whoever starts the daemon."},
                    {"NOTIFY_SOCKET, WATCHDOG_USEC", "Where systemd is told how the daemon is."}}}},
       .see_also = {"a8actl(1)", "a8a.toml(5)"}});
}

std::string TomlTypeName(const OptionSpec& spec) {
  switch (spec.toml_type) {
    case TomlType::kString:
      return "text";
    case TomlType::kInteger:
      return "integer";
    case TomlType::kBoolean:
      return "true or false";
    case TomlType::kStringOrInteger:
      return "text or integer";
    case TomlType::kIntegerList:
      return "list of integers";
  }
  return "";
}

std::string ConfigPage() {
  ManWriter page("a8a.toml", 5);
  page.Section("Name");
  page.Text("a8a.toml - config file of a8a-daemon");
  page.Section("Synopsis");
  page.Text(kDefaultConfigPath);
  page.Section("Description");
  page.Text(
      "A file of TOML 1.0: one key a line, with = and its value; text in quotes. Each key is also a flag of "
      "a8a-daemon, "
      "with - for _, and a flag wins over the file. An unknown key, a wrong type or a value out of range is refused "
      "with "
      "its line; a8a-daemon --check-config, or a8actl config check, says so beforehand.\n\n"
      "DURATION is text with a unit: 500ms, 30s, 5m. SIZE is bytes, or text with KiB, MiB, GiB or TiB.\n\n"
      "Keys that are live take effect on SIGHUP or a8actl reload, the others at the next start.");
  page.Section("Keys");
  for (const OptionSpec& spec : OptionTable()) {
    const std::string value = spec.format(Options());
    page.Item(absl::StrCat(spec.key(), " = ", spec.value_name.empty() ? "BOOLEAN" : spec.value_name),
              absl::StrCat(spec.help, ". Type: ", TomlTypeName(spec), spec.live ? ", live" : "",
                           "; default: ", value.empty() ? "empty" : value, "."));
  }
  page.Section("Files");
  page.Item("/usr/share/a8a/a8a.toml.example", "Every key with its default, and more on what it does.");
  page.SeeAlso({"a8actl(1)", "a8a-daemon(8)"});
  return page.text();
}

// The default config file, or "" where there is none. One that cannot be looked at counts: reading it then says why,
// and the daemon does not start with the defaults instead.
std::string FindDefaultConfig() {
  const bool there = A8A_FAILPOINT("command_line.access", ::access(kDefaultConfigPath, F_OK)) == 0;
  return there || (errno != ENOENT && errno != ENOTDIR) ? kDefaultConfigPath : "";
}

// Prints what CLI11 has to say: help and version to stdout, an error as one line to stderr.
int PrintAndGetExitCode(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error, std::cout, std::cerr);
  std::cerr << "a8a-daemon: " << absl::StrReplaceAll(error.what(), {{"\n", " "}}) << "; see a8a-daemon --help\n";
  return kExitUsage;
}

}  // namespace

std::variant<CommandLine, int> ParseCommandLine(int argc, const char* const* argv) {
  CommandLine command_line;
  CLI::App app("The node daemon of a8a: leases memory to the processes of a node and brings them together.",
               "a8a-daemon");
  app.set_version_flag("--version", std::string(kVersion));
  CLI::Option* config = app.add_option("--config", command_line.config_path, "Config file (TOML)")
                            ->type_name("FILE")
                            ->default_str(kDefaultConfigPath);
  app.add_flag("--check-config", command_line.check_config, "Check config file and flags, and exit");
  std::vector<std::string> texts(OptionTable().size());
  for (std::size_t i = 0; i < texts.size(); ++i) AddOption(OptionTable()[i], &texts[i], &app);
  app.footer(
      "SIGTERM drains and stops, a second one stops at once with status 1; SIGHUP reads the config file again; SIGUSR2 "
      "hands over to the next daemon and stops.\n\n"
      "Exit status: 0 stopped in order; 1 it could not start or was stopped at once; 2 a flag or the config file is "
      "wrong.");
  AddManPageFlag(
      "--man-page", [&app] { return DaemonPage(app); }, &app);
  AddManPageFlag("--man-page-config", &ConfigPage, &app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return PrintAndGetExitCode(app, error);
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::string& name = OptionTable()[i].name;
    if (app.count(absl::StrCat("--", name)) > 0) command_line.flags[name] = texts[i];
  }
  if (config->count() == 0) command_line.config_path = FindDefaultConfig();
  return command_line;
}

absl::StatusOr<Options> LoadOptions(const CommandLine& command_line) {
  Options options;
  if (!command_line.config_path.empty()) A8A_RETURN_IF_ERROR(ApplyConfigFile(command_line.config_path, &options));
  for (const OptionSpec& spec : OptionTable()) {
    const auto flag = command_line.flags.find(spec.name);
    if (flag == command_line.flags.end()) continue;
    const absl::Status status = spec.parse(flag->second, &options);
    if (!status.ok()) return absl::Status(status.code(), absl::StrCat("--", spec.name, ": ", status.message()));
  }
  return options;
}

}  // namespace a8a::daemon
