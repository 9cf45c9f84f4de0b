#include "daemon/core/validation.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace a8a::daemon {
namespace {

constexpr int kPageSizeDefault = 100;
constexpr int kPageSizeMax = 1000;

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isprint(static_cast<unsigned char>(c)); });
}

}  // namespace

absl::Status CheckText(absl::string_view field, absl::string_view value, int size_bytes_max, Emptiness emptiness) {
  if (value.empty()) {
    if (emptiness == Emptiness::kAllowed) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(field, " is empty; it must be 1 to ", size_bytes_max, " printable ASCII bytes"));
  }
  if (value.size() > static_cast<std::size_t>(size_bytes_max)) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " is ", value.size(), " bytes long; at most ", size_bytes_max, " are allowed"));
  }
  if (IsPrintable(value)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " \"", absl::CHexEscape(value), "\" has a byte that is not printable ASCII"));
}

absl::Status CheckRange(absl::string_view field, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; it must be in [", low, ", ", high, "]"));
}

absl::StatusOr<int> CheckPageSize(int page_size) {
  if (page_size == 0) return kPageSizeDefault;
  const absl::Status status = CheckRange("page_size", page_size, 0, kPageSizeMax);
  if (!status.ok()) return status;
  return page_size;
}

absl::Status CheckAdministrator(const Caller& caller) {
  if (caller.administrator) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("uid ", caller.identity.uid, " is not an administrator"));
}

bool SecretsEqual(absl::string_view a, absl::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]));
  }
  return difference == 0;
}

}  // namespace a8a::daemon
