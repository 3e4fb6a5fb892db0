// The pictures of the samples page: a table of prompts by epochs, or a gallery.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wandistill/picture_record.h"

namespace wandistill {

/// Records sorted into rows (one per prompt) and columns (epochs by number, the teacher last). It points into
/// the records that it was made from.
struct PictureGrid {
  struct Row {
    const PictureRecord* prompt;              ///< any record of this prompt
    bool one_seed;                            ///< all its pictures have the same
    std::vector<const PictureRecord*> cells;  ///< [column]; nullptr: no such picture was asked for
  };
  std::vector<std::string> epochs;  ///< of the columns
  std::vector<Row> rows;
};

PictureGrid make_grid(const std::vector<PictureRecord>& records);

/// How pictures are shown: scaled by a whole factor where they are small, else down to the limit.
struct PictureSize {
  int64_t width, height;  // CSS pixels
  bool enlarged;
};
PictureSize shown_size(int64_t width, int64_t height, int64_t limit);

/// Table of prompts down and epochs across.
std::string grid_table(const PictureGrid& grid, const PictureSize& size);

/// The pictures of the first column, each above its prompt.
std::string gallery(const PictureGrid& grid, const PictureSize& size);

}  // namespace wandistill
