// Manual pages, made of a program's command line: what --help says and what the page says are the same words.
//
//   CLI::App app("Looks at a running a8a-daemon.", "a8actl");
//   AddManPageFlag("--man-page", [&app] { return ManPage(app, {.section = 1, .see_also = {"a8a-daemon(8)"}}); }, &app);
//
// The build calls each program with --man-page, which no help shows, and installs what it prints.
#ifndef A8A_KERNELS_BASE_MAN_PAGE_H_
#define A8A_KERNELS_BASE_MAN_PAGE_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace CLI {
class App;
}

namespace a8a {

// Writes the man(7) language. Text is plain: what the language would take for its own is escaped.
class ManWriter {
 public:
  // The date is that of SOURCE_DATE_EPOCH, or today's.
  ManWriter(absl::string_view name, int section);

  void Section(absl::string_view heading);
  void Subsection(absl::string_view heading);
  // Paragraphs, with an empty line between them.
  void Text(absl::string_view text);
  // A word or two, and below it what they are.
  void Item(absl::string_view tag, absl::string_view text);
  // Names of other pages, like "a8a-daemon(8)".
  void SeeAlso(const std::vector<std::string>& pages);

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// What a page says beside the command line.
struct ManPageText {
  int section = 1;
  // Heading and items of further sections, each a tag and a text.
  struct Extra {
    std::string heading;
    std::vector<std::pair<std::string, std::string>> items;
  };
  std::vector<Extra> extras = {};
  std::vector<std::string> see_also = {};
};

// Name, synopsis, description, options, commands with theirs, exit status (the paragraphs of footers that begin so).
[[nodiscard]] std::string ManPage(const CLI::App& app, const ManPageText& text);

// A flag that help does not show, which prints a page and ends the program as --help does.
void AddManPageFlag(const std::string& flag, std::function<std::string()> page, CLI::App* app);

}  // namespace a8a

#endif  // A8A_KERNELS_BASE_MAN_PAGE_H_
