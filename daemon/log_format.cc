// The lines of the log, apart from where they go: what is fuzzed needs no logger.
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/log.h"

namespace a8a::daemon {
namespace {

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

char LevelLetter(LogLevel level) { return "DIWE"[static_cast<int>(level)]; }

// Length in bytes of the UTF-8 sequence at the start of `text`; 0 if there is no valid one. [RFC 3629, section 4]
std::size_t Utf8Length(absl::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto continues = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    return continues(1, lead == 0xe0 ? 0xa0 : 0x80, lead == 0xed ? 0x9f : 0xbf) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    return continues(1, lead == 0xf0 ? 0x90 : 0x80, lead == 0xf4 ? 0x8f : 0xbf) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

// A JSON string, which the text format uses for values that are not plain words too.
std::string Quote(absl::string_view text) {
  std::string quoted = "\"";
  while (!text.empty()) {
    const std::size_t length = Utf8Length(text);
    const unsigned char c = static_cast<unsigned char>(text.front());
    if (length == 0) {
      absl::StrAppend(&quoted, "\\ufffd");
    } else if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", text.substr(0, 1));
    } else if (c < 0x20 || c == 0x7f) {
      absl::StrAppend(&quoted, absl::StrFormat("\\u%04x", c));
    } else {
      absl::StrAppend(&quoted, text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return quoted + "\"";
}

bool IsPlainWord(absl::string_view text) {
  for (const char c : text) {
    if (c <= ' ' || c > '~' || c == '"' || c == '=' || c == '\\') return false;
  }
  return !text.empty();
}

std::string Timestamp(absl::Time time) { return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", time, absl::UTCTimeZone()); }

std::string FormatText(absl::Time time, LogLevel level, absl::string_view event, const LogFields& fields) {
  std::string line = absl::StrFormat("%s %c %s", Timestamp(time), LevelLetter(level), event);
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&line, " ", name, "=", IsPlainWord(value) ? value : Quote(value));
  }
  return line;
}

std::string FormatJson(absl::Time time, LogLevel level, absl::string_view event, const LogFields& fields) {
  std::string line =
      absl::StrCat("{\"time\":\"", Timestamp(time), "\",\"level\":\"", LevelName(level), "\",\"event\":", Quote(event));
  for (const auto& [name, value] : fields) absl::StrAppend(&line, ",", Quote(name), ":", Quote(value));
  return line + "}";
}

}  // namespace

std::string FormatEvent(LogFormat format, absl::Time time, LogLevel level, absl::string_view event,
                        const LogFields& fields) {
  return format == LogFormat::kJson ? FormatJson(time, level, event, fields) : FormatText(time, level, event, fields);
}

}  // namespace a8a::daemon
