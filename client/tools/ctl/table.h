// A table for a terminal: columns as wide as their cells, fitted into the width there is.
//
//   Table table({{.title = "ID", .align = Align::kRight}, {.title = "NAME", .flexible = true}});
//   table.AddRow({{"7"}, {"train"}});
//   std::cout << table.Format({.width = 80});
#ifndef A8A_CLIENT_TOOLS_CTL_TABLE_H_
#define A8A_CLIENT_TOOLS_CTL_TABLE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace a8a::ctl {

enum class Color { kNone, kGood, kWarning, kBad, kTitle };

// What the output can show.
struct Style {
  int width = 0;   // columns; 0: without limit, for files and pipes
  int height = 0;  // lines; 0: without limit
  bool color = false;
};

// `text` in the color, if the style has colors.
[[nodiscard]] std::string Paint(absl::string_view text, Color color, const Style& style);

enum class Align { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
  bool flexible = false;  // may be cut off, down to kFlexibleWidthMin
  int drop_order = 0;     // where the width does not do, columns go, highest first; 0: never
};

struct Cell {
  std::string text = {};  // any bytes: what a terminal would obey is replaced
  Color color = Color::kNone;
};

class Table {
 public:
  static constexpr int kFlexibleWidthMin = 12;

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Requires: as many cells as columns.
  void AddRow(std::vector<Cell> cells);
  [[nodiscard]] bool empty() const { return rows_.empty(); }

  // Titles, rows, and a line that names the columns for which there was no room.
  [[nodiscard]] std::string Format(const Style& style) const;

 private:
  [[nodiscard]] std::vector<int> NaturalWidths() const;
  [[nodiscard]] std::vector<int> FittedWidths(int width) const;

  const std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_TABLE_H_
