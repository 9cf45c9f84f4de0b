// A decode load: how many tokens each data-parallel rank decodes, step by step, as a CSV file holds it.
//
//   step,rank0,rank1
//   0,42,46
//   1,42,47
//
// The header names the columns: `step`, then rank0, rank1, ... without a gap. Cells are plain decimal digits; lines end
// in LF or CRLF, the last one may lack it. Everything else is refused with file and line, since a load that was read
// wrongly would be replayed, compared and reported as if it were right.
#ifndef A8A_CLIENT_EXAMPLES_DP_MLA_TRACE_H_
#define A8A_CLIENT_EXAMPLES_DP_MLA_TRACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace a8a::dp_mla {

// Tokens in one cell: no server decodes a million sequences on one rank in a step, so more is a damaged file.
inline constexpr std::int64_t kMaxTokensPerCell = 1'000'000;
// Columns: with the limit above, every flat row index of a step fits int32.
inline constexpr int kMaxTraceColumns = 1024;
// Bytes of a line: room for all columns at their widest, several times over.
inline constexpr std::size_t kMaxTraceLineBytes = 64 * 1024;
// Bytes of a file: over a million steps of 8 columns.
inline constexpr std::int64_t kMaxTraceFileBytes = 64 << 20;

// Token counts by step and group: tokens[step][group], group in [0, group_count). A plain value.
struct TokenTable {
  int group_count = 0;
  std::vector<std::int32_t> tokens;

  [[nodiscard]] std::int64_t step_count() const {
    return group_count == 0 ? 0 : static_cast<std::int64_t>(tokens.size()) / group_count;
  }
  [[nodiscard]] absl::Span<const std::int32_t> step(std::int64_t index) const {
    const auto width = static_cast<std::size_t>(group_count);
    return absl::MakeConstSpan(tokens).subspan(static_cast<std::size_t>(index) * width, width);
  }
};

// Parses the text of a trace; one group per column. `name` is what messages call the file.
//
// Errors: INVALID_ARGUMENT "name:line: what was wrong".
[[nodiscard]] absl::StatusOr<TokenTable> ParseTrace(absl::string_view text, absl::string_view name);

// Reads and parses a file.
//
// Errors: as of ParseTrace; NOT_FOUND, PERMISSION_DENIED and the like where the file cannot be read.
[[nodiscard]] absl::StatusOr<TokenTable> ReadTrace(const std::string& path);

// Adds column c to group c mod group_count.
//
// Errors: INVALID_ARGUMENT if there are fewer columns than groups; `name` as in ParseTrace.
[[nodiscard]] absl::StatusOr<TokenTable> FoldColumns(const TokenTable& columns, int group_count,
                                                     absl::string_view name);

}  // namespace a8a::dp_mla

#endif  // A8A_CLIENT_EXAMPLES_DP_MLA_TRACE_H_
