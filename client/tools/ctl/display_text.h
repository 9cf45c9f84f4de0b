// Text as a terminal shows it: how many columns it takes, and made safe, since names come from other processes.
#ifndef A8A_CLIENT_TOOLS_CTL_DISPLAY_TEXT_H_
#define A8A_CLIENT_TOOLS_CTL_DISPLAY_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace a8a::ctl {

// UTF-8 with what a terminal would obey or misplace (control characters, bidirectional overrides, bytes that are no
// UTF-8) replaced by U+FFFD.
[[nodiscard]] std::string Printable(absl::string_view text);

// Columns that printable `text` takes: 0 for combining characters, 2 for wide ones.
[[nodiscard]] int DisplayWidth(absl::string_view text);

// Printable `text` in at most `width` columns; what is cut off is replaced by "…". Requires: width >= 1.
[[nodiscard]] std::string Truncate(absl::string_view text, int width);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_DISPLAY_TEXT_H_
