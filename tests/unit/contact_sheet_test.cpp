// The contact sheet: sizes, where the pictures are, what stands for a missing one; and the text on it.
#include "wandistill/contact_sheet.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "src/sample/bitmap_font.h"
#include "tests/unit/temporary_folder.h"
#include "wandistill/png.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;
using testing::check_mentions;
using testing::error_of;
using testing::put;
using testing::TemporaryFolder;

fs::path plain_png(const fs::path& path, int64_t width, int64_t height, Color color) {
  std::vector<uint8_t> rgb;
  for (int64_t i = 0; i < width * height; ++i) rgb.insert(rgb.end(), {color.red, color.green, color.blue});
  write_png(path, width, height, rgb.data(), {});
  return path;
}

int64_t count(const Image& image, Color color) {
  int64_t n = 0;
  for (size_t i = 0; i < image.rgb.size(); i += 3)
    n += image.rgb[i] == color.red && image.rgb[i + 1] == color.green && image.rgb[i + 2] == color.blue;
  return n;
}

/// The mean column of a color's pixels.
double middle(const Image& image, Color color) {
  double sum = 0;
  for (int64_t i = 0; i < image.width * image.height; ++i) {
    const uint8_t* p = image.rgb.data() + i * 3;
    if (p[0] == color.red && p[1] == color.green && p[2] == color.blue) sum += double(i % image.width);
  }
  return sum / double(count(image, color));
}

constexpr Color kRed{200, 10, 20}, kGreen{10, 200, 30}, kBlue{10, 20, 210}, kGrey{228, 228, 226},
    kPaper{250, 250, 247};

TEST_CASE("contact sheet: pictures unscaled in their order, missing ones grey") {
  const TemporaryFolder folder;
  const fs::path red = plain_png(folder / "red.png", 40, 24, kRed),
                 green = plain_png(folder / "green.png", 40, 24, kGreen),
                 blue = plain_png(folder / "blue.png", 40, 24, kBlue);
  write_contact_sheet(folder / "sheet.png", {{"a prompt", "another"},
                                             {"epoch 1", "epoch 2", "teacher"},
                                             {{red, green, blue}, {"", folder / "not_there.png", blue}}});
  const Image sheet = read_png(folder / "sheet.png");
  CHECK(count(sheet, kRed) == 40 * 24);
  CHECK(count(sheet, kGreen) == 40 * 24);
  CHECK(count(sheet, kBlue) == 2 * 40 * 24);
  CHECK(middle(sheet, kRed) < middle(sheet, kGreen));
  CHECK(middle(sheet, kGreen) < middle(sheet, kBlue));
  CHECK(count(sheet, kGrey) > 2 * 40 * 24 * 8 / 10);
  CHECK(count(sheet, kGrey) < 2 * 40 * 24);  // the cross
  for (size_t i = 0; i < 3; ++i) CHECK(sheet.rgb[i] == std::vector<uint8_t>{250, 250, 247}[i]);
}

TEST_CASE("contact sheet: large pictures are averaged down and the width is bounded") {
  const TemporaryFolder folder;
  // Black and white columns: only an average is grey.
  std::vector<uint8_t> rgb;
  for (int64_t i = 0; i < 1024 * 768; ++i) rgb.insert(rgb.end(), 3, i % 2 ? 255 : 0);
  write_png(folder / "stripes.png", 1024, 768, rgb.data(), {});
  ContactSheet sheet{{"one"}, {}, {{}}};
  for (const int64_t columns : {1, 2, 3, 5, 7, 77, 129}) {
    CAPTURE(columns);
    while (int64_t(sheet.columns.size()) < columns) {
      sheet.columns.insert(sheet.columns.begin(), cat("epoch ", sheet.columns.size()));
      sheet.cells[0].push_back(folder / "stripes.png");
    }
    write_contact_sheet(folder / "sheet.png", sheet);
    const Image image = read_png(folder / "sheet.png");
    CHECK(image.width <= 2400);
    int64_t middle_grey = 0;
    for (size_t i = 0; i < image.rgb.size(); i += 3) middle_grey += image.rgb[i] > 80 && image.rgb[i] < 175;
    CHECK(middle_grey > std::min<int64_t>(columns, 15) * 84 * 63 * 9 / 10);
  }
}

TEST_CASE("contact sheet: of many columns the first and the last two stay") {
  const TemporaryFolder folder;
  const fs::path red = plain_png(folder / "red.png", 100, 100, kRed),
                 green = plain_png(folder / "green.png", 100, 100, kGreen),
                 blue = plain_png(folder / "blue.png", 100, 100, kBlue),
                 paper = plain_png(folder / "p.png", 100, 100, kPaper);
  ContactSheet sheet{{"one"}, {}, {{}}};
  for (int i = 0; i < 100; ++i) {
    sheet.columns.push_back(i == 99 ? "teacher" : cat("epoch ", i + 1));
    sheet.cells[0].push_back(i == 0 ? red : i == 98 ? green : i == 99 ? blue : paper);
  }
  write_contact_sheet(folder / "sheet.png", sheet);
  const Image image = read_png(folder / "sheet.png");
  CHECK(image.width <= 2400);
  for (const Color color : {kRed, kGreen, kBlue}) CHECK(count(image, color) >= 84 * 84);
}

TEST_CASE("contact sheet: what does not fit together is an error") {
  const TemporaryFolder folder;
  const fs::path sheet = folder / "sheet.png";
  check_mentions(error_of([&] { write_contact_sheet(sheet, {}); }), {"sheet.png", "needs prompts"});
  check_mentions(error_of([&] {
                   write_contact_sheet(sheet, {{"a"}, {"epoch 1"}, {}});
                 }),
                 {"1 prompts", "0 rows"});
  check_mentions(error_of([&] {
                   write_contact_sheet(sheet, {{"a"}, {"epoch 1"}, {{"", ""}}});
                 }),
                 {"row 0", "2 pictures"});
  const fs::path bad = put(folder / "bad.png", "no picture");
  check_mentions(error_of([&] { write_contact_sheet(sheet, {{"a"}, {"epoch 1"}, {{bad}}}); }), {"bad.png"});
  CHECK_FALSE(fs::exists(sheet));
}

TEST_CASE("bitmap font: every printable letter differs, others are one question mark") {
  std::vector<std::vector<uint8_t>> seen;
  for (char letter = ' '; letter < 127; ++letter) {
    Image image{30, 30, std::vector<uint8_t>(30 * 30 * 3, 255), {}};
    font::draw(image, 4, 4, std::string(1, letter), {0, 0, 0});
    CHECK_MESSAGE(std::find(seen.begin(), seen.end(), image.rgb) == seen.end(), "letter ", letter);
    CHECK((count(image, {0, 0, 0}) > 0) == (letter != ' '));
    seen.push_back(image.rgb);
  }
  Image accent{30, 30, std::vector<uint8_t>(30 * 30 * 3, 255), {}}, question = accent;
  font::draw(accent, 4, 4, "\u00e9", {0, 0, 0});
  font::draw(question, 4, 4, "?", {0, 0, 0});
  CHECK(accent.rgb == question.rgb);
  CHECK(font::width("\u00e9\u732b") == font::width("??"));
  // Over every edge: nothing outside is written.
  Image tiny{3, 3, std::vector<uint8_t>(27, 255), {}};
  for (int64_t x = -12; x < 5; ++x) font::draw(tiny, x, x, "WW", {0, 0, 0});
}

TEST_CASE("bitmap font: lines are filled with whole words and never too wide") {
  const int64_t width = std::max(font::width("a large red"), font::width("star on the"));
  const auto lines = font::wrap("a large red star  on\nthe left", width, 10);
  CHECK(lines == std::vector<std::string>{"a large red", "star on the", "left"});
  for (const int64_t pixels : {1, 5, 20, 77, 129}) {
    for (const std::string& line : font::wrap("Donaudampfschifffahrtsgesellschaft is a word", pixels, 1000))
      CHECK((font::width(line) <= pixels || line.size() == 1));
  }
  const auto cut = font::wrap("a large red star on the left", width, 2);
  REQUIRE(cut.size() == 2);
  CHECK(cut[1].ends_with("..."));
  CHECK(font::width(cut[1]) <= width);
  CHECK(font::wrap("", 100, 3).empty());
}

}  // namespace
}  // namespace wandistill
