// Pictures as PNG files with text in them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace wandistill {

/// An 8-bit RGB picture, rows from the top: rgb[(y * width + x) * 3 + channel].
struct Image {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;
  std::vector<std::pair<std::string, std::string>> text;  ///< keyword (Latin-1, 1..79 bytes), UTF-8 text
};

/// Writes atomically. Text that is ASCII becomes a tEXt chunk, other text iTXt (UTF-8). compression_level
/// 0..9.
void write_png(const std::filesystem::path& path, int64_t width, int64_t height, const uint8_t* rgb,
               const std::vector<std::pair<std::string, std::string>>& text, int compression_level = 6);

/// Reads any PNG as 8-bit RGB (alpha dropped). Error naming the file where it is no PNG or damaged.
Image read_png(const std::filesystem::path& path);

}  // namespace wandistill
