#include "src/sample/bitmap_font.h"

#include <algorithm>
#include <utility>

namespace wandistill::font {
namespace {

constexpr int64_t kColumns = 5, kRows = 9, kPerBand = 16;
constexpr int64_t kScale = 2, kGap = 1, kSpace = 3;  // gap and space in the font's own pixels

// clang-format off
/// Sixteen letters beside each other: ASCII 32..47, then 48..63, ... The last two rows lie below the baseline.
constexpr std::string_view kArt[] = {
    //  !"#$%&'()*+,-./
    "..... ..#.. .#.#. .#.#. ..#.. ##... .##.. ..#.. ...#. .#... ..... ..... ..... ..... ..... ....#",
    "..... ..#.. .#.#. .#.#. .#### ##..# #..#. ..#.. ..#.. ..#.. ..#.. ..#.. ..... ..... ..... ....#",
    "..... ..#.. .#.#. ##### #.#.. ...#. #.#.. ..#.. .#... ...#. #.#.# ..#.. ..... ..... ..... ...#.",
    "..... ..#.. ..... .#.#. .###. ..#.. .#... ..... .#... ...#. .###. ##### ..... .###. ..... ..#..",
    "..... ..#.. ..... ##### ..#.# .#... #.#.# ..... .#... ...#. #.#.# ..#.. ..... ..... ..... .#...",
    "..... ..... ..... .#.#. ####. #..## #..#. ..... ..#.. ..#.. ..#.. ..#.. ..#.. ..... ..... #....",
    "..... ..#.. ..... .#.#. ..#.. ...## .##.# ..... ...#. .#... ..... ..... ..#.. ..... ..#.. #....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .#... ..... ..... .....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    // 0123456789:;<=>?
    ".###. ..#.. .###. .###. ...#. ##### ..##. ##### .###. .###. ..... ..... ...#. ..... .#... .###.",
    "#...# .##.. #...# #...# ..##. #.... .#... ....# #...# #...# ..... ..... ..#.. ..... ..#.. #...#",
    "#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...# ..#.. ..#.. .#... ##### ...#. ....#",
    "#.#.# ..#.. ..##. ..##. #..#. ....# ####. ...#. .###. .#### ..... ..... #.... ..... ....# ..##.",
    "##..# ..#.. .#... ....# ##### ....# #...# ..#.. #...# ....# ..... ..... .#... ##### ...#. ..#..",
    "#...# ..#.. #.... #...# ...#. #...# #...# ..#.. #...# ...#. ..... ..#.. ..#.. ..... ..#.. .....",
    ".###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .##.. ..#.. ..#.. ...#. ..... .#... ..#..",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .#... ..... ..... ..... .....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    // @ABCDEFGHIJKLMNO
    ".###. ..#.. ####. .###. ###.. ##### ##### .###. #...# .###. ..### #...# #.... #...# #...# .###.",
    "#...# .#.#. #...# #...# #..#. #.... #.... #...# #...# ..#.. ...#. #..#. #.... ##.## ##..# #...#",
    "#.### #...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #.#.. #.... #.#.# ##..# #...#",
    "#.#.# #...# ####. #.... #...# ####. ####. #.### ##### ..#.. ...#. ##... #.... #.#.# #.#.# #...#",
    "#.### ##### #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #.#.. #.... #...# #..## #...#",
    "#.... #...# #...# #...# #..#. #.... #.... #...# #...# ..#.. #..#. #..#. #.... #...# #..## #...#",
    ".###. #...# ####. .###. ###.. ##### #.... .#### #...# .###. .##.. #...# ##### #...# #...# .###.",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    // PQRSTUVWXYZ[\]^_
    "####. .###. ####. .#### ##### #...# #...# #...# #...# #...# ##### .###. #.... .###. ..#.. .....",
    "#...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....# .#... #.... ...#. .#.#. .....",
    "#...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#. .#... .#... ...#. #...# .....",
    "####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#.. .#... ..#.. ...#. ..... .....",
    "#.... #.#.# #.#.. ....# ..#.. #...# #...# #.#.# .#.#. ..#.. .#... .#... ...#. ...#. ..... .....",
    "#.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #.... .#... ....# ...#. ..... .....",
    "#.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. ##### .###. ....# .###. ..... .....",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... #####",
    "..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....",
    // `abcdefghijklmno
    ".#... ..... #.... ..... ....# ..... ..##. ..... #.... ..#.. ...#. #.... .##.. ..... ..... .....",
    "..#.. ..... #.... ..... ....# ..... .#... ..... #.... ..... ..... #.... ..#.. ..... ..... .....",
    "..... .###. ####. .###. .#### .###. ####. .#### #.##. .##.. ..##. #..#. ..#.. ##.#. #.##. .###.",
    "..... ....# #...# #...# #...# #...# .#... #...# ##..# ..#.. ...#. #.#.. ..#.. #.#.# ##..# #...#",
    "..... .#### #...# #.... #...# ##### .#... #...# #...# ..#.. ...#. ##... ..#.. #.#.# #...# #...#",
    "..... #...# #...# #...# #...# #.... .#... #...# #...# ..#.. ...#. #.#.. ..#.. #.#.# #...# #...#",
    "..... .#### ####. .###. .#### .###. .#... .#### #...# .###. ...#. #..#. .###. #.#.# #...# .###.",
    "..... ..... ..... ..... ..... ..... ..... ....# ..... ..... #..#. ..... ..... ..... ..... .....",
    "..... ..... ..... ..... ..... ..... ..... .###. ..... ..... .##.. ..... ..... ..... ..... .....",
    // pqrstuvwxyz{|}~
    "..... ..... ..... ..... .#... ..... ..... ..... ..... ..... ..... ...#. ..#.. .#... .....",
    "..... ..... ..... ..... .#... ..... ..... ..... ..... ..... ..... ..#.. ..#.. ..#.. .....",
    "####. .#### .#.## .#### ####. #...# #...# #...# #...# #...# ##### ..#.. ..#.. ..#.. .....",
    "#...# #...# .##.. #.... .#... #...# #...# #...# .#.#. #...# ...#. .#... ..#.. ...#. .##.#",
    "#...# #...# .#... .###. .#... #...# #...# #.#.# ..#.. #...# ..#.. ..#.. ..#.. ..#.. #.##.",
    "#...# #...# .#... ....# .#... #..## .#.#. #.#.# .#.#. #...# .#... ..#.. ..#.. ..#.. .....",
    "####. .#### .#... ####. ..##. .##.# ..#.. .#.#. #...# .#### ##### ...#. ..#.. .#... .....",
    "#.... ....# ..... ..... ..... ..... ..... ..... ..... ....# ..... ..... ..... ..... .....",
    "#.... ....# ..... ..... ..... ..... ..... ..... ..... .###. ..... ..... ..... ..... .....",
};
// clang-format on

bool ink(char letter, int64_t column, int64_t row) {
  const int64_t index = letter - ' ', band = index / kPerBand;
  return kArt[band * kRows + row][static_cast<size_t>(index % kPerBand * (kColumns + 1) + column)] == '#';
}

/// Columns [begin, end) of the letter that have ink; a blank of its own width for the space.
struct Extent {
  int64_t begin, end;
};
Extent extent(char letter) {
  if (letter == ' ') return {0, kSpace};
  const auto used = [letter](int64_t column) {
    for (int64_t row = 0; row < kRows; ++row) {
      if (ink(letter, column, row)) return true;
    }
    return false;
  };
  Extent e{0, kColumns};
  while (e.begin < e.end && !used(e.begin)) ++e.begin;
  while (e.end > e.begin && !used(e.end - 1)) --e.end;
  return e;
}

std::string to_ascii(std::string_view utf8) {
  std::string ascii;
  for (const char c : utf8) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0) == 0x80) continue;  // inside a code point
    if (byte == '\n' || byte == '\t') {
      ascii += ' ';
    } else {
      ascii += byte >= 32 && byte < 127 ? c : '?';
    }
  }
  return ascii;
}

int64_t ascii_width(std::string_view ascii) {
  int64_t columns = 0;
  for (const char letter : ascii) {
    const Extent e = extent(letter);
    columns += e.end - e.begin + kGap;
  }
  return std::max<int64_t>(columns - kGap, 0) * kScale;
}

/// The longest start of `ascii` that fits, at least one letter.
size_t fitting(std::string_view ascii, int64_t pixels) {
  size_t n = 1;
  while (n < ascii.size() && ascii_width(ascii.substr(0, n + 1)) <= pixels) ++n;
  return n;
}

}  // namespace

int64_t width(std::string_view utf8) {
  return ascii_width(to_ascii(utf8));
}

std::vector<std::string> wrap(std::string_view utf8, int64_t pixels, int64_t max_lines) {
  const std::string text = to_ascii(utf8);
  std::vector<std::string> lines;
  std::string line;
  for (size_t at = 0; (at = text.find_first_not_of(' ', at)) != std::string::npos;) {
    std::string word = text.substr(at, text.find(' ', at) - at);
    at += word.size();
    if (!line.empty() && ascii_width(line + ' ' + word) > pixels) lines.push_back(std::exchange(line, {}));
    if (!line.empty()) line += ' ';
    while (line.empty() && ascii_width(word) > pixels) {
      const size_t n = fitting(word, pixels);
      if (n == word.size()) break;
      lines.push_back(word.substr(0, n));
      word.erase(0, n);
    }
    line += word;
  }
  if (!line.empty()) lines.push_back(line);
  if (static_cast<int64_t>(lines.size()) > max_lines) {
    lines.resize(static_cast<size_t>(max_lines));
    std::string& last = lines.back();
    while (!last.empty() && ascii_width(last + "...") > pixels) last.pop_back();
    last += "...";
  }
  return lines;
}

void draw(Image& image, int64_t x, int64_t y, std::string_view utf8, Color color) {
  const auto fill = [&](int64_t left, int64_t top) {
    for (int64_t py = std::max<int64_t>(top, 0); py < std::min(top + kScale, image.height); ++py) {
      for (int64_t px = std::max<int64_t>(left, 0); px < std::min(left + kScale, image.width); ++px) {
        uint8_t* pixel = image.rgb.data() + (py * image.width + px) * 3;
        pixel[0] = color.red, pixel[1] = color.green, pixel[2] = color.blue;
      }
    }
  };
  for (const char letter : to_ascii(utf8)) {
    const Extent e = extent(letter);
    if (letter != ' ') {
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t column = e.begin; column < e.end; ++column) {
          if (ink(letter, column, row)) fill(x + (column - e.begin) * kScale, y + row * kScale);
        }
      }
    }
    x += (e.end - e.begin + kGap) * kScale;
  }
}

}  // namespace wandistill::font
