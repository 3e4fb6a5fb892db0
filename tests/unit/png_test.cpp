#include "wandistill/png.h"

#include "file_limit.h"
#include "temporary_folder.h"
#include "wandistill/file.h"

namespace wandistill::testing {
namespace {

namespace {

std::vector<uint8_t> noise(int64_t count) {
  std::vector<uint8_t> values(static_cast<size_t>(count));
  uint32_t state = 1;
  for (uint8_t& v : values) v = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  return values;
}

}  // namespace

TEST_CASE("png: pixels and text come back, at odd sizes") {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> text = {
      {"prompt", "ein gro\u00dfer \u732b, \"quoted\"\nsecond line"}, {"seed", "42"}, {"epoch", ""}};
  for (const auto& [width, height] : {std::pair{1, 1}, {5, 7}, {77, 3}, {129, 130}}) {
    CAPTURE(width);
    const std::vector<uint8_t> rgb = noise(width * height * 3);
    write_png(folder / "a.png", width, height, rgb.data(), text, width == 5 ? 0 : 6);
    const Image image = read_png(folder / "a.png");
    CHECK(image.width == width);
    CHECK(image.height == height);
    CHECK(image.rgb == rgb);
    CHECK(image.text == text);
    CHECK(folder.count() == 1);
  }
  const std::string bytes = read_file(folder / "a.png");
  CHECK(bytes.find("iTXtprompt") != std::string::npos);
  CHECK(bytes.find("tEXtseed") != std::string::npos);
}

TEST_CASE("png: a picture of other software opens") {
  const Image image = read_png("data/tiny-wan/preview.png");
  CHECK(image.width > 100);
  CHECK(static_cast<int64_t>(image.rgb.size()) == image.width * image.height * 3);
}

TEST_CASE("png: what is no picture, or a damaged one, is refused by name") {
  const TemporaryFolder folder;
  const std::vector<uint8_t> rgb = noise(30 * 30 * 3);
  write_png(folder / "a.png", 30, 30, rgb.data(), {});
  const std::string whole = read_file(folder / "a.png");
  const auto error_for = [&](const std::string& content) {
    put(folder / "b.png", content);
    return error_of([&] { read_png(folder / "b.png"); });
  };
  CHECK(error_for(whole) == "no error");
  check_mentions(error_for("GIF89a and more"), {"b.png", "not a PNG"});
  check_mentions(error_for(""), {"b.png", "not a PNG"});
  check_mentions(error_for(whole.substr(0, 1000)), {"b.png", "ends too early"});
  std::string damaged = whole;
  damaged[1000] = static_cast<char>(damaged[1000] ^ 0x40);
  check_mentions(error_for(damaged), {"b.png", "PNG: "});
  check_mentions(error_of([&] { read_png(folder / "none.png"); }), {"none.png", "No such file"});
}

TEST_CASE("png: impossible sizes and a full disk are errors that leave nothing behind") {
  const TemporaryFolder folder;
  const std::vector<uint8_t> rgb = noise(100 * 100 * 3);
  check_mentions(error_of([&] { write_png(folder / "a.png", 0, 5, rgb.data(), {}); }),
                 {"a.png", "impossible size 0 x 5"});
  check_mentions(error_of([&] {
                   const FileSizeLimit limit(10000);
                   write_png(folder / "a.png", 100, 100, rgb.data(), {});
                 }),
                 {"a.png", "File too large"});
  CHECK(folder.count() == 0);
}

}  // namespace
}  // namespace wandistill::testing
