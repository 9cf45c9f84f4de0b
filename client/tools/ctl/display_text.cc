#include "client/tools/ctl/display_text.h"

#include <clocale>
#include <cstddef>
#include <cwchar>
#include <vector>

#include "absl/strings/str_cat.h"

namespace a8a::ctl {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr absl::string_view kEllipsis = "\xE2\x80\xA6";     // U+2026

// While it lives, this thread's multibyte functions know UTF-8, whatever the user's locale is.
class Utf8Locale {
 public:
  Utf8Locale() : before_(::uselocale(Shared())) {}
  ~Utf8Locale() { ::uselocale(before_); }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  static locale_t Shared() {
    static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return locale;  // where there is none, uselocale(0) changes nothing, and what is not ASCII is replaced
  }
  const locale_t before_;
};

// Marks that make a terminal show text in another order than it is written.
bool IsBidiControl(wchar_t c) {
  return c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

struct Character {
  absl::string_view bytes;
  int width = 0;  // -1: not to be printed
};

std::vector<Character> Characters(absl::string_view text) {
  const Utf8Locale locale;
  std::vector<Character> characters;
  while (!text.empty()) {
    std::mbstate_t state = {};
    wchar_t c = 0;
    std::size_t size = std::mbrtowc(&c, text.data(), text.size(), &state);
    const bool valid = size > 0 && size <= text.size();
    if (!valid) size = 1;
    characters.push_back({text.substr(0, size), valid && !IsBidiControl(c) ? ::wcwidth(c) : -1});
    text.remove_prefix(size);
  }
  return characters;
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string printable;
  for (const Character& c : Characters(text)) absl::StrAppend(&printable, c.width < 0 ? kReplacement : c.bytes);
  return printable;
}

int DisplayWidth(absl::string_view text) {
  int width = 0;
  for (const Character& c : Characters(text)) width += c.width < 0 ? 1 : c.width;
  return width;
}

std::string Truncate(absl::string_view text, int width) {
  if (DisplayWidth(text) <= width) return std::string(text);
  std::string truncated;
  int left = width - 1;  // the ellipsis takes one
  for (const Character& c : Characters(text)) {
    if (c.width > left) break;
    left -= c.width;
    absl::StrAppend(&truncated, c.bytes);
  }
  return absl::StrCat(truncated, kEllipsis);
}

}  // namespace a8a::ctl
