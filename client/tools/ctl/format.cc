#include "client/tools/ctl/format.h"

#include <array>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace a8a::ctl {
namespace {

// Three digits, or all of them where there is no unit to divide by.
template <std::size_t N>
std::string Scale(double value, double step, const std::array<const char*, N>& units) {
  std::size_t unit = 0;
  // 999.5 would be written as 1000.
  while (unit + 1 < N && value >= 999.5) {
    value /= step;
    ++unit;
  }
  const int digits = value >= 99.95 || value == std::floor(value) ? 0 : 1;
  return absl::StrFormat("%.*f%s", digits, value, units[unit]);
}

// An enum value's name without the enum's own.
std::string ShortName(const std::string& name, std::size_t prefix_size, int value) {
  return name.empty() ? absl::StrCat(value) : absl::AsciiStrToLower(name.substr(prefix_size));
}

}  // namespace

std::string FormatBytes(double bytes) {
  return Scale(bytes, 1024, std::array{" B", " KiB", " MiB", " GiB", " TiB", " PiB"});
}

std::string FormatCount(double count) { return Scale(count, 1000, std::array{"", "k", "M", "G", "T", "P"}); }

std::string FormatShare(double share) { return absl::StrFormat("%.1f%%", 100 * share); }

std::string FormatNs(double ns) {
  if (ns >= 60e9) return FormatAge(static_cast<std::int64_t>(ns / 1e9));
  return Scale(ns, 1000, std::array{" ns", " us", " ms", " s"});
}

std::string FormatAge(std::int64_t seconds) {
  if (seconds < 60) return absl::StrCat(seconds, "s");
  const std::int64_t minutes = seconds / 60;
  if (minutes < 60) return absl::StrCat(minutes, "m ", seconds % 60, "s");
  if (minutes < 24 * 60) return absl::StrCat(minutes / 60, "h ", minutes % 60, "m");
  return absl::StrCat(minutes / (24 * 60), "d ", minutes / 60 % 24, "h");
}

std::string StateName(v1::GroupState state) {
  return ShortName(v1::GroupState_Name(state), sizeof("GROUP_STATE_") - 1, state);
}

std::string ReasonName(v1::EndReason reason) {
  return ShortName(v1::EndReason_Name(reason), sizeof("END_REASON_") - 1, reason);
}

std::string KindName(v1::DeviceKind kind) {
  return ShortName(v1::DeviceKind_Name(kind), sizeof("DEVICE_KIND_") - 1, kind);
}

double QuantileNs(const v1::WaitHistogram& histogram, double q) {
  double total = 0;
  for (const std::uint64_t count : histogram.counts()) total += static_cast<double>(count);
  double below = 0;
  for (int i = 0; i < histogram.counts_size() && total > 0; ++i) {
    below += static_cast<double>(histogram.counts(i));
    if (below >= q * total) return std::ldexp(1.0, i + 1);
  }
  return 0;
}

std::uint64_t ErrorCountOf(const v1::Counters& counters) {
  std::uint64_t count = 0;
  for (const v1::ErrorCount& error : counters.errors()) count += error.count();
  return count;
}

}  // namespace a8a::ctl
