#include "client/tools/progress.h"

#include <unistd.h>

#include <cstdio>

#include "absl/time/clock.h"

namespace a8a::tools {
namespace {

constexpr absl::Duration kTerminalInterval = absl::Milliseconds(200);
// A log keeps every line: one in five seconds tells as much.
constexpr absl::Duration kLogInterval = absl::Seconds(5);

void Write(const char* format, absl::string_view text) {
  std::fprintf(stderr, format, static_cast<int>(text.size()), text.data());
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(Verbosity verbosity)
    : shown_(verbosity == Verbosity::kShown), terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { EraseLine(); }

void Progress::Update(absl::string_view text) {
  const absl::Time now = absl::Now();
  if (!shown_ || now < next_update_) return;
  next_update_ = now + (terminal_ ? kTerminalInterval : kLogInterval);
  Write(terminal_ ? "\r\x1b[K%.*s" : "%.*s\n", text);
  line_open_ = terminal_;
}

void Progress::Milestone(absl::string_view text) {
  if (!shown_) return;
  EraseLine();
  Write("%.*s\n", text);
}

void Progress::EraseLine() {
  if (line_open_) Write("\r\x1b[K%.*s", "");
  line_open_ = false;
}

}  // namespace a8a::tools
