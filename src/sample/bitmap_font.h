// Text in pictures without a font library: a small bitmap font for printable ASCII.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wandistill/png.h"

namespace wandistill {

struct Color {
  uint8_t red, green, blue;
};

/// The font at twice its drawn size. Letters have their own widths. Everything that is not printable ASCII
/// is drawn as one '?' per UTF-8 code point.
namespace font {

inline constexpr int64_t kLineHeight = 22;  ///< pixels from line to line
inline constexpr int64_t kInkHeight = 14;   ///< pixels from a capital letter's top to the baseline

/// Pixels that a line of text takes.
int64_t width(std::string_view utf8);

/// Words filled into lines of at most `pixels`; a word that is too long for a line is broken. Where there
/// are more than max_lines, the last one ends with "...".
std::vector<std::string> wrap(std::string_view utf8, int64_t pixels, int64_t max_lines);

/// Draws a line with its first letter's upper left corner at (x, y); what falls outside is not drawn.
void draw(Image& image, int64_t x, int64_t y, std::string_view utf8, Color color);

}  // namespace font
}  // namespace wandistill
