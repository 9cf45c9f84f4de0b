// The terminal, where there is one: its size, its colors, and a live view that is redrawn in place.
#ifndef A8A_CLIENT_TOOLS_CTL_SCREEN_H_
#define A8A_CLIENT_TOOLS_CTL_SCREEN_H_

#include <termios.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/tools/ctl/table.h"
#include "kernels/base/unique_fd.h"

namespace a8a::ctl {

// What stdout can show now. Colors on a terminal only, and none where NO_COLOR is set (https://no-color.org) or TERM is
// "dumb".
[[nodiscard]] Style StdoutStyle();

// A view that is written again and again. On a terminal it takes the alternate screen and gives all back when it ends;
// elsewhere one view follows the other, with `separator` between. One at a time; made before any other thread, so that
// all inherit its signals.
class Screen {
 public:
  explicit Screen(absl::string_view separator);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // False if it cannot be written.
  [[nodiscard]] bool Show(absl::string_view text);

  enum class Wake { kTime, kResize, kQuit };
  // Until the time has passed, the terminal's size has changed, or somebody wants to quit: the key q, or a signal.
  [[nodiscard]] Wake Wait(absl::Duration duration);
  // The signal that ended a Wait; 0 if none did.
  [[nodiscard]] int signal() const { return signal_; }

 private:
  [[nodiscard]] Wake ReadSignal();
  [[nodiscard]] bool ReadQuitKey() const;

  const std::string separator_;
  const bool in_place_;
  bool first_ = true;
  int signal_ = 0;
  UniqueFd signals_;
  std::optional<termios> keyboard_;  // as it was before
};

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_SCREEN_H_
