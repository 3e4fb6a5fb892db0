#include "wandistill/contact_sheet.h"

#include <algorithm>
#include <cmath>

#include "src/sample/bitmap_font.h"
#include "wandistill/error.h"
#include "wandistill/png.h"

namespace wandistill {
namespace {

constexpr int64_t kMaxWidth = 2400, kMaxRows = 64;    // pixels, prompts
constexpr int64_t kMargin = 28, kGap = 10;            // around the sheet, between cells
constexpr int64_t kLabelWidth = 270, kLabelGap = 18;  // the prompt, and its distance to the first cell
constexpr int64_t kMinCell = 84, kMaxCell = 384;      // pixels; the header "teacher" fits into the least
constexpr int64_t kTeacherGap = 16;                   // more before the last column
constexpr Color kPaper{250, 250, 247}, kText{40, 42, 48}, kFaintText{120, 122, 128}, kRule{222, 222, 216};
constexpr Color kMissing{228, 228, 226}, kCross{190, 190, 188};

int64_t cell_limit(int64_t columns) {
  const int64_t room = kMaxWidth - 2 * kMargin - kLabelWidth - kLabelGap - kTeacherGap;
  return std::min(kMaxCell, (room + kGap) / columns - kGap);
}

/// Indices of the columns to show: all, or evenly spread ones with the first and the last two.
std::vector<size_t> choose_columns(size_t count) {
  std::vector<size_t> chosen;
  int64_t shown = static_cast<int64_t>(count);
  while (shown > 3 && cell_limit(shown) < kMinCell) --shown;
  if (shown < static_cast<int64_t>(count)) {
    const size_t spread = static_cast<size_t>(shown) - 1, last = count - 2;
    for (size_t i = 0; i < spread; ++i) chosen.push_back((i * last + (spread - 1) / 2) / (spread - 1));
    chosen.push_back(count - 1);
  } else {
    for (size_t i = 0; i < count; ++i) chosen.push_back(i);
  }
  return chosen;
}

/// Each new pixel is the mean of the area it covers; a picture that is small enough stays as it is.
Image shrink(Image picture, int64_t limit) {
  const double factor =
      static_cast<double>(std::max(picture.width, picture.height)) / static_cast<double>(limit);
  if (factor <= 1) return picture;
  Image small;
  small.width = std::max<int64_t>(1, std::llround(static_cast<double>(picture.width) / factor));
  small.height = std::max<int64_t>(1, std::llround(static_cast<double>(picture.height) / factor));
  small.rgb.resize(static_cast<size_t>(small.width * small.height * 3));
  const double step_x = static_cast<double>(picture.width) / static_cast<double>(small.width);
  const double step_y = static_cast<double>(picture.height) / static_cast<double>(small.height);
  // How much of source pixel i lies in [begin, end).
  const auto overlap = [](int64_t i, double begin, double end) {
    return std::min(end, static_cast<double>(i + 1)) - std::max(begin, static_cast<double>(i));
  };
  for (int64_t y = 0; y < small.height; ++y) {
    const double top = static_cast<double>(y) * step_y, bottom = top + step_y;
    for (int64_t x = 0; x < small.width; ++x) {
      const double left = static_cast<double>(x) * step_x, right = left + step_x;
      double sum[3] = {0, 0, 0}, area = 0;
      for (auto sy = static_cast<int64_t>(top); sy < std::min<int64_t>(picture.height, std::ceil(bottom));
           ++sy) {
        for (auto sx = static_cast<int64_t>(left); sx < std::min<int64_t>(picture.width, std::ceil(right));
             ++sx) {
          const double weight = overlap(sy, top, bottom) * overlap(sx, left, right);
          const uint8_t* from = picture.rgb.data() + (sy * picture.width + sx) * 3;
          for (int c = 0; c < 3; ++c) sum[c] += weight * from[c];
          area += weight;
        }
      }
      uint8_t* to = small.rgb.data() + (y * small.width + x) * 3;
      for (int c = 0; c < 3; ++c) to[c] = static_cast<uint8_t>(std::lround(sum[c] / area));
    }
  }
  return small;
}

void fill(Image& image, int64_t x, int64_t y, int64_t width, int64_t height, Color color) {
  for (int64_t row = y; row < y + height; ++row) {
    uint8_t* pixel = image.rgb.data() + (row * image.width + x) * 3;
    for (int64_t i = 0; i < width; ++i, pixel += 3) {
      pixel[0] = color.red, pixel[1] = color.green, pixel[2] = color.blue;
    }
  }
}

void paste(Image& image, int64_t x, int64_t y, const Image& picture) {
  for (int64_t row = 0; row < picture.height; ++row) {
    std::copy_n(picture.rgb.data() + row * picture.width * 3, picture.width * 3,
                image.rgb.data() + ((y + row) * image.width + x) * 3);
  }
}

void draw_missing(Image& image, int64_t x, int64_t y, int64_t width, int64_t height) {
  fill(image, x, y, width, height, kMissing);
  // Both diagonals of the middle, three pixels thick.
  const int64_t side = std::min(width, height) / 3, left = x + (width - side) / 2,
                top = y + (height - side) / 2;
  for (int64_t i = 0; i + 3 <= side; ++i) {
    fill(image, left + i, top + i, 3, 3, kCross);
    fill(image, left + side - 3 - i, top + i, 3, 3, kCross);
  }
}

/// Lines below each other.
void draw_centred(Image& image, int64_t middle_x, int64_t y, const std::vector<std::string>& lines,
                  Color color) {
  for (const std::string& line : lines) {
    font::draw(image, middle_x - font::width(line) / 2, y, line, color);
    y += font::kLineHeight;
  }
}
void draw_left(Image& image, int64_t x, int64_t y, const std::vector<std::string>& lines, Color color) {
  for (const std::string& line : lines) {
    font::draw(image, x, y, line, color);
    y += font::kLineHeight;
  }
}

int64_t text_height(size_t lines) {
  return lines == 0 ? 0 : (static_cast<int64_t>(lines) - 1) * font::kLineHeight + font::kInkHeight;
}

struct Row {
  std::vector<std::string> label;
  std::vector<Image> pictures;  // width 0: missing
  int64_t picture_height = 0, height = 0;
};

class Sheet {
 public:
  explicit Sheet(const ContactSheet& sheet) : source_(sheet), chosen_(choose_columns(sheet.columns.size())) {
    const size_t shown = std::min<size_t>(sheet.rows.size(), kMaxRows);
    for (size_t r = 0; r < shown; ++r) rows_.push_back(read_row(r));
    if (cell_width_ == 0)
      cell_width_ = std::min<int64_t>(128, cell_limit(static_cast<int64_t>(chosen_.size())));
    for (Row& row : rows_) lay_out(row, sheet.rows[&row - rows_.data()]);
    for (const size_t c : chosen_) headers_.push_back(font::wrap(sheet.columns[c], cell_width_ + kGap, 3));
    for (const auto& header : headers_) header_lines_ = std::max(header_lines_, header.size());
    if (shown < sheet.rows.size()) footer_ = cat("and ", sheet.rows.size() - shown, " more prompts");
  }

  Image draw() const {
    Image image;
    image.width = cell_x(chosen_.size() - 1) + cell_width_ + kMargin;
    image.height = 2 * kMargin + text_height(header_lines_) + (footer_.empty() ? 0 : kGap + font::kInkHeight);
    for (const Row& row : rows_) image.height += 2 * kGap + row.height;
    image.rgb.resize(static_cast<size_t>(image.width * image.height * 3));
    fill(image, 0, 0, image.width, image.height, kPaper);

    int64_t y = kMargin;
    for (size_t c = 0; c < chosen_.size(); ++c) {
      const int64_t lower = text_height(header_lines_) - text_height(headers_[c].size());
      draw_centred(image, cell_x(c) + cell_width_ / 2, y + lower, headers_[c], kText);
    }
    y += text_height(header_lines_) + kGap;
    for (const Row& row : rows_) {
      fill(image, kMargin, y, image.width - 2 * kMargin, 1, kRule);
      y += kGap;
      draw_left(image, kMargin, y + (row.height - text_height(row.label.size())) / 2, row.label, kText);
      for (size_t c = 0; c < chosen_.size(); ++c) draw_cell(image, c, y, row);
      y += row.height + kGap;
    }
    if (!footer_.empty()) font::draw(image, kMargin, y, footer_, kFaintText);
    return image;
  }

 private:
  Row read_row(size_t r) {
    Row row;
    for (const size_t c : chosen_) {
      const std::filesystem::path& file = source_.cells[r][c];
      Image picture;
      if (!file.empty() && std::filesystem::exists(file))
        picture = shrink(read_png(file), cell_limit(static_cast<int64_t>(chosen_.size())));
      cell_width_ = std::max(cell_width_, picture.width);
      row.picture_height = std::max(row.picture_height, picture.height);
      tallest_ = std::max(tallest_, picture.height);
      row.pictures.push_back(std::move(picture));
    }
    return row;
  }

  void lay_out(Row& row, const std::string& prompt) const {
    if (row.picture_height == 0) row.picture_height = tallest_ > 0 ? tallest_ : cell_width_;
    const int64_t lines = std::max<int64_t>(6, row.picture_height / font::kLineHeight);
    row.label = font::wrap(prompt, kLabelWidth, lines);
    row.height = std::max(row.picture_height, text_height(row.label.size()));
  }

  int64_t cell_x(size_t c) const {
    const bool apart = c + 1 == chosen_.size() && c > 0 && source_.columns.back() == "teacher";
    return kMargin + kLabelWidth + kLabelGap + static_cast<int64_t>(c) * (cell_width_ + kGap) +
           (apart ? kTeacherGap : 0);
  }

  void draw_cell(Image& image, size_t c, int64_t y, const Row& row) const {
    const Image& picture = row.pictures[c];
    if (picture.width == 0) {
      draw_missing(image, cell_x(c), y + (row.height - row.picture_height) / 2, cell_width_,
                   row.picture_height);
    } else {
      paste(image, cell_x(c) + (cell_width_ - picture.width) / 2, y + (row.height - picture.height) / 2,
            picture);
    }
  }

  const ContactSheet& source_;
  std::vector<size_t> chosen_;
  std::vector<Row> rows_;
  std::vector<std::vector<std::string>> headers_;
  size_t header_lines_ = 0;
  std::string footer_;
  int64_t cell_width_ = 0, tallest_ = 0;  // of the pictures, scaled down; tallest 0: all are missing
};

}  // namespace

void write_contact_sheet(const std::filesystem::path& png, const ContactSheet& sheet) {
  if (sheet.columns.empty() || sheet.rows.empty())
    fail(png.string(), ": a contact sheet needs prompts and columns");
  if (sheet.cells.size() != sheet.rows.size())
    fail(png.string(), ": contact sheet of ", sheet.rows.size(), " prompts has ", sheet.cells.size(),
         " rows of pictures");
  for (size_t r = 0; r < sheet.rows.size(); ++r) {
    if (sheet.cells[r].size() != sheet.columns.size())
      fail(png.string(), ": contact sheet row ", r, " has ", sheet.cells[r].size(), " pictures for ",
           sheet.columns.size(), " columns");
  }
  const Image image = Sheet(sheet).draw();
  write_png(png, image.width, image.height, image.rgb.data(),
            {{"Title", "Contact sheet: prompts down, epochs across"}});
}

}  // namespace wandistill
