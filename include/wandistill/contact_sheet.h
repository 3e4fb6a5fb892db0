// All sample pictures of a run on one sheet.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace wandistill {

/// Prompts down, epochs across, the teacher's own picture last.
struct ContactSheet {
  std::vector<std::string> rows;                          ///< prompts, UTF-8
  std::vector<std::string> columns;                       ///< "epoch 1", "epoch 10", ..., "teacher"
  std::vector<std::vector<std::filesystem::path>> cells;  ///< PNGs [row][column]; empty: there is none
};

/// Writes the sheet as PNG, atomically. Pictures of any size are scaled down to cells, so that the sheet is
/// at most 2400 pixels wide; where columns would become too narrow to see anything, evenly spread ones are
/// left out (never the first and the last two), and of very many prompts the first 64 are shown. A cell
/// without a picture, or whose file is not there, is a grey box with a cross. Error where `cells` is not rows
/// by columns, and where a file is no PNG.
void write_contact_sheet(const std::filesystem::path& png, const ContactSheet& sheet);

}  // namespace wandistill
