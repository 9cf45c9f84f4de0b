// Tells a person how far a run is: one line that is rewritten on a terminal, a line now and then in a log, or nothing.
// Writes to stderr, so that results on stdout stay clean. Not thread-safe.
#ifndef A8A_CLIENT_TOOLS_PROGRESS_H_
#define A8A_CLIENT_TOOLS_PROGRESS_H_

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace a8a::tools {

class Progress {
 public:
  enum class Verbosity { kQuiet, kShown };
  explicit Progress(Verbosity verbosity);
  // Leaves no half line behind.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Shows `text` unless something was shown a moment ago. Cheap enough for every tick.
  void Update(absl::string_view text);
  // Shows `text` in any case and keeps it.
  void Milestone(absl::string_view text);

 private:
  void EraseLine();

  const bool shown_;
  const bool terminal_;
  bool line_open_ = false;
  absl::Time next_update_ = absl::InfinitePast();
};

}  // namespace a8a::tools

#endif  // A8A_CLIENT_TOOLS_PROGRESS_H_
