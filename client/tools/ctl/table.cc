#include "client/tools/ctl/table.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/tools/ctl/display_text.h"
#include "kernels/base/check.h"

namespace a8a::ctl {
namespace {

constexpr int kGap = 2;
constexpr int kDropped = -1;

// ECMA-48, Select Graphic Rendition.
const char* ColorCode(Color color) {
  switch (color) {
    case Color::kGood:
      return "32";
    case Color::kWarning:
      return "33";
    case Color::kBad:
      return "31";
    case Color::kTitle:
      return "1";
    case Color::kNone:
      break;
  }
  return "0";
}

int TotalWidth(const std::vector<int>& widths) {
  int total = -kGap;
  for (const int width : widths) total += width == kDropped ? 0 : width + kGap;
  return total;
}

// The column that goes next; the number of columns if all that are left must stay.
std::size_t NextToDrop(const std::vector<Column>& columns, const std::vector<int>& widths) {
  std::size_t next = columns.size();
  int highest = 0;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (widths[i] == kDropped || columns[i].drop_order <= highest) continue;
    highest = columns[i].drop_order;
    next = i;
  }
  return next;
}

}  // namespace

std::string Paint(absl::string_view text, Color color, const Style& style) {
  if (!style.color || color == Color::kNone || text.empty()) return std::string(text);
  return absl::StrCat("\x1b[", ColorCode(color), "m", text, "\x1b[0m");
}

void Table::AddRow(std::vector<Cell> cells) {
  A8A_CHECK(cells.size() == columns_.size(), "a cell for each column");
  for (Cell& cell : cells) cell.text = Printable(cell.text);
  rows_.push_back(std::move(cells));
}

std::vector<int> Table::NaturalWidths() const {
  std::vector<int> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    int width = DisplayWidth(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[i].text));
    widths.push_back(width);
  }
  return widths;
}

std::vector<int> Table::FittedWidths(int width) const {
  const std::vector<int> natural = NaturalWidths();
  if (width == 0 || TotalWidth(natural) <= width) return natural;
  std::vector<int> widths = natural;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].flexible) widths[i] = std::min(natural[i], kFlexibleWidthMin);
  }
  while (TotalWidth(widths) > width) {
    const std::size_t next = NextToDrop(columns_, widths);
    if (next == columns_.size()) break;
    widths[next] = kDropped;
  }
  // What is left over goes to flexible columns, from the left.
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (widths[i] == kDropped || !columns_[i].flexible) continue;
    widths[i] += std::clamp(width - TotalWidth(widths), 0, natural[i] - widths[i]);
  }
  return widths;
}

std::string Table::Format(const Style& style) const {
  const std::vector<int> widths = FittedWidths(style.width);
  const auto format_row = [&](const auto& cell_at) {
    std::string line;
    std::string padding;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (widths[i] == kDropped) continue;
      const Cell cell = cell_at(i);
      const std::string text = Truncate(cell.text, std::max(widths[i], 1));
      const std::string fill(static_cast<std::size_t>(std::max(widths[i] - DisplayWidth(text), 0)), ' ');
      const bool right = columns_[i].align == Align::kRight;
      // Written only when something follows, so that no line ends in spaces.
      absl::StrAppend(&line, padding, right ? fill : "", Paint(text, cell.color, style));
      padding = absl::StrCat(right ? "" : fill, std::string(kGap, ' '));
    }
    return absl::StrCat(line, "\n");
  };
  std::string text = format_row([&](std::size_t i) { return Cell{columns_[i].title, Color::kTitle}; });
  for (const auto& row : rows_) absl::StrAppend(&text, format_row([&](std::size_t i) { return row[i]; }));
  std::vector<std::string> dropped;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (widths[i] == kDropped) dropped.push_back(columns_[i].title);
  }
  if (dropped.empty()) return text;
  return absl::StrCat(text, Truncate(absl::StrCat("(no room for ", absl::StrJoin(dropped, ", "), ")"), style.width),
                      "\n");
}

}  // namespace a8a::ctl
