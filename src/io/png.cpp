#include "wandistill/png.h"

#include <png.h>

#include <algorithm>
#include <cstring>

#include "wandistill/error.h"
#include "wandistill/file.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

// libpng is C: an error must not return into it. Its documented way out with C++ callers is an exception
// thrown from the error handler (its frames hold nothing that needs unwinding).
[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  throw Error(cat(static_cast<const fs::path*>(png_get_error_ptr(png))->string(), ": PNG: ", message));
}
void on_warning(png_structp, png_const_charp) {}

void write_bytes(png_structp png, png_bytep data, size_t bytes) {
  static_cast<AtomicFile*>(png_get_io_ptr(png))->write(data, bytes);
}

/// A PNG file in memory and how far it has been read.
struct Source {
  std::string content;
  size_t at = 0;
};
void read_bytes(png_structp png, png_bytep data, size_t bytes) {
  Source& source = *static_cast<Source*>(png_get_io_ptr(png));
  if (source.content.size() - source.at < bytes) png_error(png, "the file ends too early");
  std::memcpy(data, source.content.data() + source.at, bytes);
  source.at += bytes;
}

struct Writer {
  png_structp png;
  png_infop info = nullptr;
  explicit Writer(const fs::path& path)
      : png(png_create_write_struct(PNG_LIBPNG_VER_STRING, const_cast<fs::path*>(&path), on_error,
                                    on_warning)) {
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) fail(path.string(), ": PNG: out of memory");
  }
  ~Writer() { png_destroy_write_struct(&png, &info); }
};

struct Reader {
  png_structp png;
  png_infop info = nullptr;
  explicit Reader(const fs::path& path)
      : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, const_cast<fs::path*>(&path), on_error,
                                   on_warning)) {
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) fail(path.string(), ": PNG: out of memory");
  }
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

bool is_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 128; });
}

}  // namespace

void write_png(const fs::path& path, int64_t width, int64_t height, const uint8_t* rgb,
               const std::vector<std::pair<std::string, std::string>>& text, int compression_level) {
  if (width < 1 || height < 1 || width > PNG_UINT_31_MAX || height > PNG_UINT_31_MAX)
    fail(path.string(), ": PNG: impossible size ", width, " x ", height);
  AtomicFile file(path);
  {
    Writer writer(path);
    png_set_write_fn(writer.png, &file, write_bytes, [](png_structp) {});
    png_set_user_limits(writer.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_compression_level(writer.png, compression_level);
    png_set_IHDR(writer.png, writer.info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height),
                 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    std::vector<png_text> chunks;
    for (const auto& [keyword, value] : text) {
      png_text chunk{};
      chunk.compression = is_ascii(value) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
      chunk.key = const_cast<char*>(keyword.c_str());
      chunk.text = const_cast<char*>(value.c_str());
      chunk.text_length = value.size();
      chunks.push_back(chunk);
    }
    if (!chunks.empty())
      png_set_text(writer.png, writer.info, chunks.data(), static_cast<int>(chunks.size()));
    png_write_info(writer.png, writer.info);
    for (int64_t y = 0; y < height; ++y) png_write_row(writer.png, rgb + y * width * 3);
    png_write_end(writer.png, nullptr);
  }
  file.commit();
}

Image read_png(const fs::path& path) {
  Source source{read_file(path)};
  if (png_sig_cmp(reinterpret_cast<png_const_bytep>(source.content.data()), 0,
                  std::min<size_t>(8, source.content.size())) != 0 ||
      source.content.size() < 8)
    fail(path.string(), ": not a PNG file");
  Reader reader(path);
  png_set_read_fn(reader.png, &source, read_bytes);
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_read_info(reader.png, reader.info);
  png_set_expand(reader.png);
  png_set_scale_16(reader.png);
  png_set_strip_alpha(reader.png);
  png_set_gray_to_rgb(reader.png);
  const int passes = png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);

  Image image;
  image.width = png_get_image_width(reader.png, reader.info);
  image.height = png_get_image_height(reader.png, reader.info);
  const int64_t row_bytes = image.width * 3;
  WD_REQUIRE(static_cast<int64_t>(png_get_rowbytes(reader.png, reader.info)) == row_bytes);
  // A damaged header must not make us allocate what the file cannot hold (deflate packs at most 1032 to 1).
  if (row_bytes > static_cast<int64_t>(source.content.size()) * 1032 * 8 / image.height)
    fail(path.string(), ": PNG: the file is too short for ", image.width, " x ", image.height, " pixels");
  image.rgb.resize(static_cast<size_t>(row_bytes * image.height));
  for (int pass = 0; pass < passes; ++pass)
    for (int64_t y = 0; y < image.height; ++y)
      png_read_row(reader.png, image.rgb.data() + y * row_bytes, nullptr);
  png_read_end(reader.png, reader.info);

  png_textp chunks = nullptr;
  const int count = png_get_text(reader.png, reader.info, &chunks, nullptr);
  for (int i = 0; i < count; ++i) image.text.emplace_back(chunks[i].key, chunks[i].text);
  return image;
}

}  // namespace wandistill
