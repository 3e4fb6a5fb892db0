#include "src/plan/table.h"

#include <algorithm>

namespace wandistill {

Table::Table(std::vector<std::string> head, std::string alignment)
    : alignment_(std::move(alignment)), rows_{std::move(head)} {}

std::string Table::text() const {
  std::vector<size_t> widths(rows_.front().size(), 0);
  const auto cell = [&](size_t row, size_t column) {
    return (row > 0 && column == 0 ? "  " : "") + rows_[row][column];
  };
  for (size_t r = 0; r < rows_.size(); ++r)
    for (size_t c = 0; c < rows_[r].size(); ++c) widths[c] = std::max(widths[c], cell(r, c).size());
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      const std::string value = cell(r, c), blank(widths[c] - value.size(), ' ');
      line += (c == 0 ? "" : "  ") + (alignment_[c] == 'r' ? blank + value : value + blank);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace wandistill
