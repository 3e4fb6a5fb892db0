// A table as text: columns as wide as their widest cell.
#pragma once

#include <string>
#include <vector>

namespace wandistill {

class Table {
 public:
  /// alignment: 'l' or 'r' for each column.
  Table(std::vector<std::string> head, std::string alignment);
  /// As many cells as the head has.
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// The rows are indented by two below the head.
  std::string text() const;

 private:
  std::string alignment_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace wandistill
