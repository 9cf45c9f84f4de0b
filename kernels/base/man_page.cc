#include "kernels/base/man_page.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kernels/base/version.h"

namespace a8a {
namespace {

constexpr absl::string_view kExitStatus = "Exit status: ";

std::string Escape(absl::string_view text) {
  std::string escaped = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}, {"\"", "\\(dq"}});
  // A line that begins so would be a request.
  if (!escaped.empty() && (escaped[0] == '.' || escaped[0] == '\'')) escaped.insert(0, "\\&");
  return escaped;
}

std::string Date() {
  const char* const epoch = std::getenv("SOURCE_DATE_EPOCH");
  std::int64_t seconds = 0;
  const bool given = epoch != nullptr && absl::SimpleAtoi(epoch, &seconds);
  return absl::FormatTime("%Y-%m-%d", given ? absl::FromUnixSeconds(seconds) : absl::Now(), absl::UTCTimeZone());
}

std::string OneLine(absl::string_view text) {
  return absl::StrJoin(absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty()), " ");
}

std::vector<std::string> Paragraphs(absl::string_view text) {
  std::vector<std::string> paragraphs;
  for (const absl::string_view paragraph : absl::StrSplit(text, "\n\n")) {
    const std::string line = OneLine(paragraph);
    if (!line.empty()) paragraphs.push_back(line);
  }
  return paragraphs;
}

// The first words of a description, as the list of all pages has them.
std::string Brief(absl::string_view description) {
  std::string brief = OneLine(description.substr(0, description.find_first_of(":.")));
  if (!brief.empty()) brief[0] = absl::ascii_tolower(static_cast<unsigned char>(brief[0]));
  return brief;
}

// What help shows, in its order.
std::vector<const CLI::Option*> ShownOptions(const CLI::App& app, bool positional) {
  return app.get_options([&](const CLI::Option* option) {
    return !option->get_group().empty() && option->get_positional() == positional;
  });
}

std::vector<const CLI::App*> Commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

// Whether a program's page says it already, above its commands.
bool IsInherited(const CLI::App& command, const CLI::Option& option) {
  const CLI::App* const parent = command.get_parent();
  if (parent == nullptr) return false;
  const CLI::Option* const same = parent->get_option_no_throw(option.get_name());
  return (same != nullptr && same->get_description() == option.get_description()) || IsInherited(*parent, option);
}

void WriteOptions(const CLI::App& app, ManWriter* page) {
  for (const bool positional : {true, false}) {
    for (const CLI::Option* option : ShownOptions(app, positional)) {
      if (IsInherited(app, *option)) continue;
      // "SECONDS:FLOAT in [0 - 1]": how the value is called, and what it can be.
      const std::string type = option->get_type_name();
      const std::pair<std::string, std::string> parts = absl::StrSplit(type, absl::MaxSplits(':', 1));
      const std::string name = option->get_name(positional, /*all_options=*/true);
      std::string tag = absl::StrReplaceAll(name, {{",", ", "}});
      if (!positional && !parts.first.empty()) absl::StrAppend(&tag, " ", parts.first);
      std::string text = OneLine(option->get_description());
      if (!absl::EndsWith(text, ".")) text += ".";
      if (!parts.second.empty()) absl::StrAppend(&text, " Allowed: ", parts.second, ".");
      if (!option->get_default_str().empty()) absl::StrAppend(&text, " Default: ", option->get_default_str(), ".");
      page->Item(tag, text);
    }
  }
}

void WriteCommands(const CLI::App& app, const std::string& prefix, ManWriter* page) {
  for (const CLI::App* command : Commands(app)) {
    const std::string name = prefix + command->get_name();
    if (Commands(*command).empty()) {
      std::string heading = name;
      for (const CLI::Option* option : ShownOptions(*command, /*positional=*/true)) {
        absl::StrAppend(&heading, " ", option->get_required() ? "" : "[", option->get_name(true, false),
                        option->get_required() ? "" : "]");
      }
      page->Subsection(heading);
      page->Text(absl::StrCat(command->get_description(), "."));
      WriteOptions(*command, page);
    }
    WriteCommands(*command, name + " ", page);
  }
}

// Each paragraph once, however many commands have it.
void CollectFooters(const CLI::App& app, std::vector<std::string>* paragraphs) {
  for (std::string& paragraph : Paragraphs(app.get_footer())) {
    const bool known = std::find(paragraphs->begin(), paragraphs->end(), paragraph) != paragraphs->end();
    if (!known) paragraphs->push_back(std::move(paragraph));
  }
  for (const CLI::App* command : Commands(app)) CollectFooters(*command, paragraphs);
}

}  // namespace

ManWriter::ManWriter(absl::string_view name, int section) {
  absl::StrAppend(&text_, ".TH \"", Escape(absl::AsciiStrToUpper(name)), "\" ", section, " ", Date(), " \"a8a ",
                  kVersion, "\" \"a8a manual\"\n");
}

void ManWriter::Section(absl::string_view heading) {
  absl::StrAppend(&text_, ".SH \"", Escape(absl::AsciiStrToUpper(heading)), "\"\n");
}

void ManWriter::Subsection(absl::string_view heading) { absl::StrAppend(&text_, ".SS \"", Escape(heading), "\"\n"); }

void ManWriter::Text(absl::string_view text) {
  const std::vector<std::string> paragraphs = Paragraphs(text);
  for (std::size_t i = 0; i < paragraphs.size(); ++i) {
    if (i > 0) absl::StrAppend(&text_, ".PP\n");
    absl::StrAppend(&text_, Escape(paragraphs[i]), "\n");
  }
}

void ManWriter::Item(absl::string_view tag, absl::string_view text) {
  absl::StrAppend(&text_, ".TP\n\\fB", Escape(tag), "\\fR\n", Escape(OneLine(text)), "\n");
}

void ManWriter::SeeAlso(const std::vector<std::string>& pages) {
  if (pages.empty()) return;
  Section("See also");
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(pages[i], absl::MaxSplits('(', 1));
    const absl::string_view end = i + 1 < pages.size() ? "," : "";
    absl::StrAppend(&text_, ".BR ", Escape(parts.first), " (", parts.second, end, "\n");
  }
}

std::string ManPage(const CLI::App& app, const ManPageText& text) {
  const std::string description = app.get_description();
  ManWriter page(app.get_name(), text.section);
  page.Section("Name");
  page.Text(absl::StrCat(app.get_name(), " - ", Brief(description)));
  page.Section("Synopsis");
  page.Text(absl::StrCat(app.get_name(), " [OPTION]...", Commands(app).empty() ? "" : " COMMAND [OPTION]..."));
  page.Section("Description");
  std::vector<std::string> footers;
  CollectFooters(app, &footers);
  std::vector<std::string> exit_statuses;
  std::string described = absl::StrCat(description, absl::EndsWith(description, ".") ? "" : ".");
  for (const std::string& paragraph : footers) {
    absl::string_view rest = paragraph;
    if (absl::ConsumePrefix(&rest, kExitStatus)) {
      exit_statuses.emplace_back(rest);
    } else {
      absl::StrAppend(&described, "\n\n", paragraph);
    }
  }
  page.Text(described);
  page.Section("Options");
  WriteOptions(app, &page);
  if (!Commands(app).empty()) page.Section("Commands");
  WriteCommands(app, "", &page);
  for (const ManPageText::Extra& extra : text.extras) {
    page.Section(extra.heading);
    for (const auto& [tag, item] : extra.items) page.Item(tag, item);
  }
  if (!exit_statuses.empty()) page.Section("Exit status");
  page.Text(absl::StrJoin(exit_statuses, "\n\n"));
  page.SeeAlso(text.see_also);
  return page.text();
}

void AddManPageFlag(const std::string& flag, std::function<std::string()> page, CLI::App* app) {
  app->add_flag_callback(
         flag,
         [page = std::move(page)] {
           std::cout << page() << std::flush;
           throw CLI::Success();
         },
         "Print the manual page")
      ->group("");
}

}  // namespace a8a
