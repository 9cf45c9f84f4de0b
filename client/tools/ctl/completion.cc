#include "client/tools/ctl/completion.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "client/tools/ctl/command_line.h"

namespace a8a::ctl {
namespace {

struct Word {
  std::string text;
  std::string help;
};

struct Command {
  std::string name;
  std::string help;
  std::vector<Word> flags;
  std::vector<std::string> arguments;  // the words that its first argument can be
};

std::vector<Word> Flags(CLI::App* app) {
  std::vector<Word> flags;
  for (const CLI::Option* option : app->get_options()) {
    if (option->get_group().empty()) continue;  // not for people: help does not show it either
    for (const std::string& name : option->get_lnames())
      flags.push_back({absl::StrCat("--", name), option->get_description()});
  }
  return flags;
}

std::vector<Command> Commands(CLI::App* app) {
  std::vector<Command> commands;
  for (CLI::App* sub : app->get_subcommands([](const CLI::App*) { return true; })) {
    Command command{sub->get_name(), sub->get_description(), Flags(sub), ArgumentsOf(sub->get_name())};
    for (CLI::App* nested : sub->get_subcommands([](const CLI::App*) { return true; })) {
      command.arguments.push_back(nested->get_name());
      for (const Word& flag : Flags(nested)) {
        if (flag.text != "--help") command.flags.push_back(flag);
      }
    }
    commands.push_back(command);
  }
  return commands;
}

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

void AppendText(std::string* out, const Word& word) { absl::StrAppend(out, word.text); }

std::string Bash(const std::vector<Command>& commands, const std::vector<Word>& flags) {
  std::string cases;
  std::vector<std::string> names;
  for (const Command& command : commands) {
    names.push_back(command.name);
    absl::StrAppend(&cases, "    ", command.name, ") words='", absl::StrJoin(command.arguments, " "), " ",
                    absl::StrJoin(command.flags, " ", AppendText), "' ;;\n");
  }
  return absl::StrCat(
      "# bash completion of a8actl: source <(a8actl completion bash)\n"
      "_a8actl() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" previous=\"${COMP_WORDS[COMP_CWORD - 1]}\" words i\n"
      "  case \"$previous\" in\n"
      "    --runtime-dir) mapfile -t COMPREPLY < <(compgen -d -- \"$current\"); return ;;\n"
      "    --daemon | check) [[ $current == -* ]] || { mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return; } "
      ";;\n"
      "  esac\n"
      "  words='",
      absl::StrJoin(names, " "), " ", absl::StrJoin(flags, " ", AppendText),
      "'\n"
      "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
      "    case \"${COMP_WORDS[i]}\" in\n",
      absl::StrReplaceAll(cases, {{"    ", "      "}}),
      "      *) continue ;;\n"
      "    esac\n"
      "    break\n"
      "  done\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
      "}\n"
      "complete -F _a8actl a8actl\n");
}

std::string Zsh(const std::vector<Command>& commands, const std::vector<Word>& flags) {
  std::string names;
  std::string cases;
  const auto described = [](const std::vector<Word>& words) {
    return absl::StrJoin(words, " ", [](std::string* out, const Word& word) {
      absl::StrAppend(out, Quoted(absl::StrCat(word.text, ":", absl::StrReplaceAll(word.help, {{":", "\\:"}}))));
    });
  };
  for (const Command& command : commands) {
    absl::StrAppend(&names, " ", described({{command.name, command.help}}));
    std::vector<Word> words;
    for (const std::string& argument : command.arguments) words.push_back({argument, command.help});
    words.insert(words.end(), command.flags.begin(), command.flags.end());
    absl::StrAppend(&cases, "      ", command.name, ") words=(", described(words), ") ;;\n");
  }
  return absl::StrCat(
      "#compdef a8actl\n"
      "# zsh completion of a8actl: source <(a8actl completion zsh)\n"
      "_a8actl() {\n"
      "  local -a words_before=(\"${words[@]}\") words\n"
      "  local word\n"
      "  if [[ ${words_before[CURRENT-1]} == (--runtime-dir|--daemon|check) ]]; then _files; return; fi\n"
      "  words=(",
      names, " ", described(flags),
      ")\n"
      "  for word in \"${(@)words_before[2,CURRENT-1]}\"; do\n"
      "    case $word in\n",
      cases,
      "      *) continue ;;\n"
      "    esac\n"
      "    break\n"
      "  done\n"
      "  local -a candidates=(\"${words[@]}\")\n"
      "  words=(\"${words_before[@]}\")\n"
      "  _describe a8actl candidates\n"
      "}\n"
      "compdef _a8actl a8actl\n");
}

std::string Fish(const std::vector<Command>& commands, const std::vector<Word>& flags) {
  std::string script = "# fish completion of a8actl: a8actl completion fish | source\ncomplete -c a8actl -f\n";
  const auto add = [&script](absl::string_view condition, absl::string_view kind, absl::string_view word,
                             absl::string_view help) {
    absl::StrAppend(&script, "complete -c a8actl -n ", Quoted(condition), " ", kind, " ", word, " -d ", Quoted(help),
                    "\n");
  };
  for (const Word& flag : flags) add("__fish_use_subcommand", "-l", flag.text.substr(2), flag.help);
  for (const Command& command : commands) {
    add("__fish_use_subcommand", "-a", command.name, command.help);
    const std::string seen = absl::StrCat("__fish_seen_subcommand_from ", command.name);
    for (const std::string& argument : command.arguments) add(seen, "-a", argument, command.help);
    for (const Word& flag : command.flags) add(seen, "-l", flag.text.substr(2), flag.help);
  }
  absl::StrAppend(&script, "complete -c a8actl -n '__fish_seen_subcommand_from check' -F\n");
  return script;
}

}  // namespace

std::string CompletionScript(const std::string& shell, CLI::App* app) {
  const std::vector<Command> commands = Commands(app);
  const std::vector<Word> flags = Flags(app);
  if (shell == "bash") return Bash(commands, flags);
  return shell == "zsh" ? Zsh(commands, flags) : Fish(commands, flags);
}

}  // namespace a8a::ctl
