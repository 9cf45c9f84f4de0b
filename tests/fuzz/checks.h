// What fuzz targets demand of every answer. A broken demand ends the process, which is what the fuzzer looks for.
#ifndef A8A_TESTS_FUZZ_CHECKS_H_
#define A8A_TESTS_FUZZ_CHECKS_H_

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kernels/base/check.h"

namespace a8a::fuzz {

// No control character: nothing that came from outside may forge a line of a log or move a terminal's cursor.
inline void CheckOneLine(absl::string_view text) {
  const bool clean = std::none_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; });
  A8A_CHECK(clean, absl::StrCat("control characters in: ", absl::CHexEscape(text)));
}

// The answer to a request: never blames the daemon, and fits the trailers of a gRPC call, which have 8 KiB in all.
inline void CheckAnswer(const absl::Status& status) {
  constexpr std::size_t kMessageBytesMax = 1024;
  CheckOneLine(status.message());
  A8A_CHECK(status.message().size() <= kMessageBytesMax, absl::StrCat("long message: ", status.message()));
  A8A_CHECK(!absl::IsInternal(status) && !absl::IsUnknown(status), status.ToString());
}

}  // namespace a8a::fuzz

#endif  // A8A_TESTS_FUZZ_CHECKS_H_
