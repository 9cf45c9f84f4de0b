// A decode load, through ParseTrace and FoldColumns: any bytes are taken or refused with one line that names the place,
// and what was taken is what stands there.
#include <cstdint>
#include <numeric>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/examples/dp_mla/trace.h"
#include "tests/fuzz/checks.h"

namespace a8a::dp_mla {
namespace {

std::string ToCsv(const TokenTable& table) {
  std::string text = "step";
  for (int i = 0; i < table.group_count; ++i) absl::StrAppend(&text, ",rank", i);
  for (std::int64_t step = 0; step < table.step_count(); ++step) {
    absl::StrAppend(&text, "\n", step, ",", absl::StrJoin(table.step(step), ","));
  }
  return text;
}

std::int64_t Sum(const TokenTable& table) {
  return std::accumulate(table.tokens.begin(), table.tokens.end(), std::int64_t{0});
}

void CheckTaken(const TokenTable& table) {
  A8A_CHECK(table.group_count >= 1 && table.group_count <= kMaxTraceColumns, "the width of the table");
  A8A_CHECK(static_cast<std::int64_t>(table.tokens.size()) == table.step_count() * table.group_count, "half a row");
  for (const std::int32_t tokens : table.tokens) A8A_CHECK(tokens >= 0 && tokens <= kMaxTokensPerCell, "a cell");
  const absl::StatusOr<TokenTable> again = ParseTrace(ToCsv(table), "again");
  A8A_CHECK(again.ok() && again->group_count == table.group_count && again->tokens == table.tokens, "not the same");
}

void CheckFolded(const TokenTable& table) {
  for (const int group_count : {1, 2, table.group_count, table.group_count + 1}) {
    const absl::StatusOr<TokenTable> folded = FoldColumns(table, group_count, "trace");
    A8A_CHECK(folded.ok() == (group_count <= table.group_count), folded.status().ToString());
    if (folded.ok()) A8A_CHECK(Sum(*folded) == Sum(table), "folding lost tokens");
  }
}

}  // namespace
}  // namespace a8a::dp_mla

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace a8a::dp_mla;
  const auto table = ParseTrace(absl::string_view(reinterpret_cast<const char*>(data), size), "trace");
  if (table.ok()) {
    CheckTaken(*table);
    CheckFolded(*table);
    return 0;
  }
  a8a::fuzz::CheckOneLine(table.status().message());
  A8A_CHECK(absl::IsInvalidArgument(table.status()) && absl::StartsWith(table.status().message(), "trace:"),
            table.status().ToString());
  return 0;
}
