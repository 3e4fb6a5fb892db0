#include "src/train/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vector>

#include "wandistill/crc32c.h"
#include "wandistill/error.h"
#include "wandistill/file.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

template <class T>
std::string little_endian(T value) {
  static_assert(std::endian::native == std::endian::little);
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

// Protocol buffers on the wire: a field is its number and wire type, then the value
// (https://protobuf.dev/programming-guides/encoding).
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += char((value & 127) | 128);
  return bytes += char(value);
}
std::string field(int number, int wire_type, const std::string& value) {
  return varint(uint64_t(number) << 3 | uint64_t(wire_type)) + value;
}
std::string integer_field(int number, int64_t value) {
  return field(number, 0, varint(uint64_t(value)));
}
std::string double_field(int number, double value) {
  return field(number, 1, little_endian(value));
}
std::string float_field(int number, float value) {
  return field(number, 5, little_endian(value));
}
std::string bytes_field(int number, std::string_view value) {
  return field(number, 2, varint(value.size()).append(value));
}

// Field numbers of event.proto and summary.proto.
std::string event_head(double wall_time, int64_t step) {
  return double_field(1, wall_time) + (step == 0 ? "" : integer_field(2, step));
}
std::string summary(const std::string& values) {
  return bytes_field(5, values);
}

/// Width or height: bytes 16 to 23 of a PNG file, high byte first.
int64_t png_number(std::string_view png, size_t at) {
  int64_t value = 0;
  for (size_t i = at; i < at + 4 && i < png.size(); ++i) value = value << 8 | uint8_t(png[i]);
  return value;
}

uint32_t masked_crc(std::string_view data) {
  const uint32_t crc = crc32c(data.data(), data.size());
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

void collect(const std::string& path, const Json& values, std::vector<event::Scalar>* scalars) {
  if (values.is_number()) scalars->push_back({path, values.get<float>()});
  if (values.is_object())
    for (const auto& [key, value] : values.items()) collect(path + "/" + key, value, scalars);
  if (values.is_array())
    for (size_t i = 0; i < values.size(); ++i) collect(cat(path, "/", i), values[i], scalars);
}

/// The name of a file behind all that are there, even if this host's clock is behind another's.
fs::path next_file(const fs::path& folder) {
  make_directories(folder);
  long seconds = long(now());
  for (const auto& entry : fs::directory_iterator(folder)) {
    long other = 0;
    if (std::sscanf(entry.path().filename().c_str(), "events.out.tfevents.%ld", &other) == 1)
      seconds = std::max(seconds, other + 1);
  }
  char number[24], host[256] = "";
  std::snprintf(number, sizeof number, "%010ld", seconds);
  ::gethostname(host, sizeof host - 1);
  return folder / cat("events.out.tfevents.", number, ".", host);
}

}  // namespace

namespace event {

std::string version(double wall_time) {
  return event_head(wall_time, 0) + bytes_field(3, "brain.Event:2");
}

std::string session_start(double wall_time, int64_t step) {
  return event_head(wall_time, step) + bytes_field(7, integer_field(1, 1));
}

std::string scalars(double wall_time, int64_t step, const std::vector<Scalar>& scalars) {
  std::string values;
  for (const Scalar& s : scalars) values += bytes_field(1, bytes_field(1, s.tag) + float_field(2, s.value));
  return event_head(wall_time, step) + summary(values);
}

std::string picture(double wall_time, int64_t step, const std::string& tag, std::string_view png) {
  constexpr int64_t kRgb = 3;
  const std::string image = integer_field(1, png_number(png, 20)) + integer_field(2, png_number(png, 16)) +
                            integer_field(3, kRgb) + bytes_field(4, png);
  return event_head(wall_time, step) + summary(bytes_field(1, bytes_field(1, tag) + bytes_field(4, image)));
}

std::string record(const std::string& data) {
  const std::string length = little_endian(uint64_t(data.size()));
  return length + little_endian(masked_crc(length)) + data + little_endian(masked_crc(data));
}

}  // namespace event

TensorBoard::TensorBoard(const fs::path& folder, int64_t next_step) : file_(next_file(folder)) {
  file_.append(event::record(event::version(now())));
  file_.append(event::record(event::session_start(now(), next_step)));
}

void TensorBoard::scalars(int64_t step, const std::string& prefix, const Json& values) {
  std::vector<event::Scalar> found;
  collect(prefix, values, &found);
  file_.append(event::record(event::scalars(now(), step, found)));
}

void TensorBoard::picture(int64_t step, const std::string& tag, std::string_view png) {
  file_.append(event::record(event::picture(now(), step, tag, png)));
}

}  // namespace wandistill
