#include "client/tools/ctl/screen.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"

namespace a8a::ctl {
namespace {

// xterm's control sequences: alternate screen without cursor, and back; home; erase to the end of line and of screen.
constexpr char kEnter[] = "\x1b[?1049h\x1b[?25l";
constexpr char kLeave[] = "\x1b[?25h\x1b[?1049l";
constexpr char kHome[] = "\x1b[H";
constexpr char kEraseLine[] = "\x1b[K\n";
constexpr char kEraseBelow[] = "\x1b[J";

UniqueFd TakeSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

// Keys come at once and unseen; Ctrl-Z, which would leave the terminal as it is, does nothing.
std::optional<termios> TakeKeyboard() {
  termios before = {};
  if (::isatty(STDIN_FILENO) != 1 || ::tcgetattr(STDIN_FILENO, &before) != 0) return std::nullopt;
  // In the background the terminal is somebody else's, and changing it would stop this process.
  if (::tcgetpgrp(STDIN_FILENO) != ::getpgrp()) return std::nullopt;
  termios raw = before;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  raw.c_cc[VSUSP] = _POSIX_VDISABLE;
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  if (::tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return std::nullopt;
  return before;
}

bool Write(absl::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

}  // namespace

Style StdoutStyle() {
  Style style;
  if (::isatty(STDOUT_FILENO) != 1) return style;
  winsize size = {};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
    style.width = size.ws_col;
    style.height = size.ws_row;
  }
  const char* const no_color = std::getenv("NO_COLOR");
  const char* const term = std::getenv("TERM");
  style.color = (no_color == nullptr || *no_color == '\0') && term != nullptr && absl::string_view(term) != "dumb";
  return style;
}

Screen::Screen(absl::string_view separator)
    : separator_(separator), in_place_(::isatty(STDOUT_FILENO) == 1), signals_(TakeSignals()) {
  if (!in_place_) return;
  keyboard_ = TakeKeyboard();
  static_cast<void>(Write(kEnter));  // a terminal that is gone shows at the first view
}

Screen::~Screen() {
  if (in_place_) static_cast<void>(Write(kLeave));
  if (keyboard_.has_value()) ::tcsetattr(STDIN_FILENO, TCSANOW, &*keyboard_);
}

bool Screen::Show(absl::string_view text) {
  if (in_place_) return Write(absl::StrCat(kHome, absl::StrReplaceAll(text, {{"\n", kEraseLine}}), kEraseBelow));
  const bool first = first_;
  first_ = false;
  return Write(absl::StrCat(first ? "" : separator_, text));
}

Screen::Wake Screen::ReadSignal() {
  signalfd_siginfo info = {};
  if (::read(signals_.get(), &info, sizeof(info)) != sizeof(info)) return Wake::kTime;
  if (info.ssi_signo == SIGWINCH) return Wake::kResize;
  signal_ = static_cast<int>(info.ssi_signo);
  return Wake::kQuit;
}

bool Screen::ReadQuitKey() const {
  char key = 0;
  return ::read(STDIN_FILENO, &key, 1) == 1 && (key == 'q' || key == 'Q');
}

Screen::Wake Screen::Wait(absl::Duration duration) {
  const absl::Time end = absl::Now() + duration;
  while (true) {
    const auto left_ms = absl::ToInt64Milliseconds(absl::Ceil(end - absl::Now(), absl::Milliseconds(1)));
    if (left_ms <= 0) return Wake::kTime;
    pollfd entries[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                        {.fd = keyboard_.has_value() ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
    ::poll(entries, 2, static_cast<int>(std::min<std::int64_t>(left_ms, 1'000'000)));
    if ((entries[0].revents & POLLIN) != 0) {
      if (const Wake wake = ReadSignal(); wake != Wake::kTime) return wake;
    }
    if ((entries[1].revents & POLLIN) != 0 && ReadQuitKey()) return Wake::kQuit;
    if ((entries[1].revents & (POLLHUP | POLLERR)) != 0) return Wake::kQuit;  // the terminal is gone
  }
}

}  // namespace a8a::ctl
