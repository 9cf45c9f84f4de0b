#include "client/tools/ctl/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/tools/ctl/completion.h"
#include "client/tools/ctl/exit_status.h"
#include "kernels/base/man_page.h"
#include "kernels/base/version.h"

namespace a8a::ctl {
namespace {

constexpr double kDaySeconds = 24 * 60 * 60;
constexpr char kFooter[] =
    "Exit status: 0 done, and all is well; 1 an answer, but not a good one (not serving, a check failed, a config "
    "file\n"
    "is wrong); 2 wrong flags; 3 the daemon does not run or answer; 4 not permitted; 5 the daemon refused; 6 anything\n"
    "else. Colors on a terminal only, and none with NO_COLOR.";

// The flags of all that talk to a daemon.
void AddDaemonFlags(CLI::App* app, Options* options) {
  app->add_option("--runtime-dir", options->runtime_dir, "Where the daemon's sockets are")
      ->type_name("DIR")
      ->capture_default_str();
  app->add_option("--timeout", options->timeout_seconds, "Seconds to wait for each answer")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.001, kDaySeconds))
      ->capture_default_str();
}

CLI::App* AddCommand(CLI::App* app, const std::string& name, const std::string& help, Options* options) {
  CLI::App* command = app->add_subcommand(name, help);
  command->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  const std::string parent = app->get_name() == "a8actl" ? "" : absl::StrCat(app->get_name(), " ");
  command->callback([options, full_name = absl::StrCat(parent, name)] { options->command = full_name; });
  command->footer(kFooter);
  return command;
}

void AddJson(CLI::App* command, Options* options) {
  command->add_flag("--json", options->json, "JSON instead of text; one object a line with --watch");
}

// Does something to the daemon.
CLI::App* AddAction(CLI::App* app, const std::string& name, const std::string& help, Options* options) {
  CLI::App* command = AddCommand(app, name, help, options);
  AddDaemonFlags(command, options);
  AddJson(command, options);
  return command;
}

// Shows something, once or again and again.
CLI::App* AddView(CLI::App* app, const std::string& name, const std::string& help, Options* options) {
  CLI::App* command = AddAction(app, name, help, options);
  if (name != "top") command->add_flag("--watch", options->watch, "Show it again and again, until q or Ctrl-C");
  command->add_option("--interval", options->interval_seconds, "Seconds between two views")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.05, 3600.0))
      ->capture_default_str();
  command->add_option("--count", options->count, "End after so many views; 0: never")
      ->type_name("N")
      ->check(CLI::Range(0, 1'000'000'000))
      ->capture_default_str();
  return command;
}

void AddGroupFlag(CLI::App* command, Options* options) {
  command->add_option("--group", options->group_id, "Only the group of this id")->type_name("ID");
}

void AddViews(CLI::App* app, Options* options) {
  AddView(app, "status", "The daemon in a few lines", options);
  AddView(app, "devices", "Pools of memory: limits, what is leased, health", options);
  AddView(app, "sessions", "Processes that are attached, and what they hold", options);
  AddGroupFlag(AddView(app, "groups", "Groups, their state and their windows", options), options);
  AddView(app, "buffers", "Leases, one by one", options);
  AddGroupFlag(AddView(app, "stats", "Counters of each rank since its group began", options), options);
  CLI::App* top = AddView(app, "top", "Live: rates, wait shares and the slowest rank of each group", options);
  AddGroupFlag(top, options);
  AddView(app, "health", "What health probes are told", options)
      ->add_option("NAME", options->health_name,
                   "Only this name: a service, device/DEVICE, part/PART; all if none is given");
  AddView(app, "doctor", "Look for what is wrong on this machine, and say how to mend it", options);
}

void AddActions(CLI::App* app, Options* options) {
  AddAction(app, "drain", "Take no new work; health turns to NOT_SERVING", options)
      ->add_option("--end-after", options->drain_seconds, "End groups that still run after so many seconds; 0: never")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, kDaySeconds))
      ->capture_default_str();
  AddAction(app, "undrain", "Take new work again", options);
  CLI::App* revoke = AddAction(app, "revoke", "End a session, group or buffer against its owner's will", options);
  revoke->add_option("KIND", options->target_kind, "What to end")
      ->required()
      ->check(CLI::IsMember(ArgumentsOf("revoke")));
  revoke->add_option("ID", options->target_id, "Its id")->required();
  AddAction(app, "reload", "Have the daemon read its config file again", options);
}

void AddLocals(CLI::App* app, Options* options) {
  CLI::App* config = app->add_subcommand("config", "Config files of the daemon");
  config->require_subcommand(1);
  CLI::App* check = AddCommand(config, "check", "Have the daemon's parser look at a config file", options);
  AddJson(check, options);
  check->add_option("FILE", options->config_path, "The file")->capture_default_str();
  check->add_option("--daemon", options->daemon_program, "The daemon's program; the one beside this if not given")
      ->type_name("PROGRAM");
  AddCommand(app, "completion", "Print a completion script", options)
      ->add_option("SHELL", options->shell, "For which shell")
      ->required()
      ->check(CLI::IsMember(ArgumentsOf("completion")));
  AddAction(app, "version", "Versions of this program and, if it runs, of the daemon", options);
}

// Help to stdout; an error as one line to stderr.
int PrintParseResult(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error, std::cout, std::cerr);
  std::cerr << "a8actl: " << absl::StrReplaceAll(error.what(), {{"\n", " "}}) << "; see a8actl --help\n";
  return kExitUsage;
}

}  // namespace

std::vector<std::string> ArgumentsOf(const std::string& command) {
  if (command == "revoke") return {"session", "group", "buffer"};
  if (command == "completion") return {"bash", "zsh", "fish"};
  return {};
}

std::optional<int> ParseCommandLine(int argc, char** argv, Options* options) {
  CLI::App app("Looks at a running a8a-daemon and administrates it.", "a8actl");
  app.set_version_flag("--version", absl::StrCat("a8actl ", kVersion));
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.require_subcommand(1);
  app.footer(kFooter);
  AddDaemonFlags(&app, options);
  AddViews(&app, options);
  AddActions(&app, options);
  AddLocals(&app, options);
  AddManPageFlag(
      "--man-page",
      [&app] {
        return ManPage(app, {.see_also = {"a8a.toml(5)", "a8a-daemon(8)"}});
      },
      &app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return PrintParseResult(app, error);
  }
  if (options->command != "completion") return std::nullopt;
  std::cout << CompletionScript(options->shell, &app) << std::flush;
  return std::cout.good() ? kExitOk : kExitFailed;
}

}  // namespace a8a::ctl
