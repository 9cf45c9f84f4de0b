#include "client/examples/dp_mla/trace.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "kernels/base/status_macros.h"

namespace a8a::dp_mla {
namespace {

// The largest flat row index of a step is that of a view [groups, capacity], where folding and rounding up make
// groups * capacity at most twice the sum of all cells.
static_assert(2 * kMaxTraceColumns * kMaxTokensPerCell < std::numeric_limits<std::int32_t>::max());

// Where the parser is, for messages.
struct Place {
  absl::string_view file;
  std::int64_t line = 0;

  [[nodiscard]] absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", line, ": ", what));
  }
};

// A cell for a message: printable, and short even if the cell is a megabyte.
std::string Quoted(absl::string_view cell) {
  constexpr std::size_t kShownBytes = 24;
  const bool cut = cell.size() > kShownBytes;
  return absl::StrCat("\"", absl::CEscape(cell.substr(0, kShownBytes)), cut ? "...\"" : "\"");
}

bool AllDigits(absl::string_view cell) {
  return !cell.empty() && std::all_of(cell.begin(), cell.end(),
                                      [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); });
}

absl::StatusOr<std::int32_t> ParseTokens(absl::string_view cell, int column, const Place& place) {
  const std::string where = absl::StrCat("column rank", column, ": ", Quoted(cell));
  if (cell.size() > 1 && cell[0] == '-' && AllDigits(cell.substr(1))) {
    return place.Error(absl::StrCat(where, " is negative; a count is in [0, ", kMaxTokensPerCell, "]"));
  }
  if (!AllDigits(cell)) return place.Error(absl::StrCat(where, " is not a count: only the digits 0 to 9 are"));
  std::int64_t tokens = 0;
  if (!absl::SimpleAtoi(cell, &tokens) || tokens > kMaxTokensPerCell) {
    return place.Error(absl::StrCat(where, " tokens are more than the limit of ", kMaxTokensPerCell));
  }
  return static_cast<std::int32_t>(tokens);
}

absl::StatusOr<int> ParseHeader(absl::string_view line, const Place& place) {
  const std::vector<absl::string_view> names = absl::StrSplit(line, ',');
  if (names[0] != "step") {
    return place.Error(absl::StrCat("the header starts with ", Quoted(names[0]), ", expected step,rank0,rank1,..."));
  }
  const std::size_t column_count = names.size() - 1;
  if (column_count == 0 || column_count > kMaxTraceColumns) {
    return place.Error(absl::StrCat("the header names ", column_count, " ranks, allowed are 1 to ", kMaxTraceColumns));
  }
  for (std::size_t i = 0; i < column_count; ++i) {
    if (names[i + 1] != absl::StrCat("rank", i)) {
      return place.Error(absl::StrCat("header column ", i + 1, " is ", Quoted(names[i + 1]), ", expected rank", i));
    }
  }
  return static_cast<int>(column_count);
}

absl::Status ParseRow(absl::string_view line, const Place& place, TokenTable* table) {
  if (absl::StripAsciiWhitespace(line).empty()) return place.Error("the row is blank");
  const std::vector<absl::string_view> cells = absl::StrSplit(line, ',');
  const std::size_t expected = static_cast<std::size_t>(table->group_count) + 1;
  if (cells.size() != expected) {
    return place.Error(absl::StrCat("the row has ", cells.size(), " columns, the header has ", expected));
  }
  std::int64_t step = 0;
  if (!AllDigits(cells[0]) || !absl::SimpleAtoi(cells[0], &step)) {
    return place.Error(absl::StrCat("column step: ", Quoted(cells[0]), " is not a step number"));
  }
  for (int column = 0; column < table->group_count; ++column) {
    A8A_ASSIGN_OR_RETURN(const std::int32_t tokens,
                         ParseTokens(cells[static_cast<std::size_t>(column) + 1], column, place));
    table->tokens.push_back(tokens);
  }
  return absl::OkStatus();
}

// What is wrong with a line before it is looked at as CSV.
absl::Status CheckLine(absl::string_view line, const Place& place) {
  if (line.size() > kMaxTraceLineBytes) {
    return place.Error(absl::StrCat("the line has ", line.size(), " bytes, the limit is ", kMaxTraceLineBytes));
  }
  if (const std::size_t at = line.find('\0'); at != absl::string_view::npos) {
    return place.Error(absl::StrCat("byte ", at + 1, " of the line is NUL; this is not a text file"));
  }
  return absl::OkStatus();
}

// Cuts the next line off `text`, without its line end.
absl::string_view TakeLine(absl::string_view* text) {
  const std::size_t end = std::min(text->find('\n'), text->size());
  absl::string_view line = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  const File file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open trace ", path));
  std::string text;
  char chunk[64 * 1024];
  while (const std::size_t got = std::fread(chunk, 1, sizeof(chunk), file.get())) {
    text.append(chunk, got);
    if (text.size() > static_cast<std::size_t>(kMaxTraceFileBytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":1: the file has more than ", kMaxTraceFileBytes, " bytes, which is the limit"));
    }
  }
  if (std::ferror(file.get()) != 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read trace ", path));
  return text;
}

}  // namespace

absl::StatusOr<TokenTable> ParseTrace(absl::string_view text, absl::string_view name) {
  Place place{name, 1};
  if (text.empty()) return place.Error("the file is empty, expected the header step,rank0,rank1,...");
  TokenTable table;
  for (; !text.empty(); ++place.line) {
    const absl::string_view line = TakeLine(&text);
    A8A_RETURN_IF_ERROR(CheckLine(line, place));
    if (place.line == 1) {
      A8A_ASSIGN_OR_RETURN(table.group_count, ParseHeader(line, place));
    } else {
      A8A_RETURN_IF_ERROR(ParseRow(line, place, &table));
    }
  }
  if (table.tokens.empty()) return place.Error("the file ends after its header, without a row of data");
  return table;
}

absl::StatusOr<TokenTable> ReadTrace(const std::string& path) {
  A8A_ASSIGN_OR_RETURN(const std::string text, ReadAll(path));
  return ParseTrace(text, path);
}

absl::StatusOr<TokenTable> FoldColumns(const TokenTable& columns, int group_count, absl::string_view name) {
  if (columns.group_count < group_count) {
    return absl::InvalidArgumentError(absl::StrCat(name, ":1: the trace has ", columns.group_count, " rank columns, ",
                                                   group_count, " data-parallel groups need at least as many"));
  }
  TokenTable folded{.group_count = group_count, .tokens = {}};
  folded.tokens.resize(static_cast<std::size_t>(columns.step_count() * group_count));
  for (std::int64_t step = 0; step < columns.step_count(); ++step) {
    const absl::Span<const std::int32_t> row = columns.step(step);
    std::int32_t* groups = folded.tokens.data() + step * group_count;
    for (int column = 0; column < columns.group_count; ++column) {
      groups[column % group_count] += row[static_cast<std::size_t>(column)];
    }
  }
  return folded;
}

}  // namespace a8a::dp_mla
