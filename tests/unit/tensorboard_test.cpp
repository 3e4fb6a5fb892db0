// Event files, read by a reader of its own.
#include "src/train/tensorboard.h"

#include <cmath>
#include <cstring>
#include <map>

#include "temporary_folder.h"
#include "wandistill/file.h"

namespace wandistill::testing {
namespace {

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(c));
    text += digits;
  }
  return text;
}

// What tensorboard 2.21's own RecordWriter and protocol buffers make of the same events.
TEST_CASE("tensorboard: the bytes that TensorBoard itself writes") {
  CHECK(hex(event::record(event::version(1.5))) ==
        "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c");
  CHECK(hex(event::record(event::session_start(1.5, 301))) ==
        "100000000000000095fbfe1809000000000000f83f10ad023a020801d17949d4");
  CHECK(
      hex(event::record(event::scalars(1.5, 300, {{"train/loss", 0.1f}, {"train/lr", -2.0f}}))) ==
      "3200000000000000241956ec09000000000000f83f10ac022a240a110a0a747261696e2f6c6f737315cdcccc3d0a0f0a087472"
      "61696e2f6c7215000000c026b84654");
}

/// Bit by bit, as RFC 3720 defines it.
uint32_t slow_crc(const std::string& data) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : data)
    for (int bit = 0; bit < 8; ++bit) {
      const bool carry = ((crc ^ uint32_t(static_cast<unsigned char>(c)) >> bit) & 1) != 0;
      crc = crc >> 1 ^ (carry ? 0x82f63b78 : 0);
    }
  return ~crc;
}

template <class T>
T number(const std::string& bytes, size_t at = 0) {
  T value;
  REQUIRE(at + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// A message's fields by number; several of one number in their order. Varints as their 8 bytes.
using Message = std::multimap<int, std::string>;

uint64_t varint(const std::string& bytes, size_t* at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    REQUIRE(*at < bytes.size());
    const uint8_t byte = uint8_t(bytes[(*at)++]);
    value |= uint64_t(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

Message parse(const std::string& bytes) {
  Message message;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t key = varint(bytes, &at);
    size_t size = 0;
    std::string value;
    if (key % 8 == 0) {
      const uint64_t integer = varint(bytes, &at);
      value.assign(reinterpret_cast<const char*>(&integer), 8);
    } else {
      REQUIRE((key % 8 == 1 || key % 8 == 2 || key % 8 == 5));
      size = key % 8 == 1 ? 8 : key % 8 == 5 ? 4 : varint(bytes, &at);
      REQUIRE(at + size <= bytes.size());
      value = bytes.substr(at, size);
      at += size;
    }
    message.emplace(int(key / 8), value);
  }
  return message;
}

std::string only(const Message& message, int field) {
  REQUIRE(message.count(field) == 1);
  return message.find(field)->second;
}

std::vector<Message> events_in(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  const auto check_crc = [&](const std::string& data, size_t at) {
    const uint32_t rotated = number<uint32_t>(bytes, at) - 0xa282ead8u;
    CHECK((rotated << 15 | rotated >> 17) == slow_crc(data));
  };
  std::vector<Message> events;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t length = number<uint64_t>(bytes, at);
    REQUIRE(at + 16 + length <= bytes.size());
    check_crc(bytes.substr(at, 8), at + 8);
    const std::string data = bytes.substr(at + 12, length);
    check_crc(data, at + 12 + length);
    events.push_back(parse(data));
    at += 16 + length;
  }
  return events;
}

TEST_CASE("tensorboard: scalars and pictures, one file for each start") {
  const TemporaryFolder folder;
  const std::string png = read_file("docs/contact_sheet.png");
  std::filesystem::path first, second;
  {
    TensorBoard board(folder / "a", 0);
    board.scalars(
        1, "train",
        {{"loss", 0.25}, {"skipped", false}, {"seconds", {{"data", 2}}}, {"bins", {1.5, std::nan("")}}});
    board.picture(300, "samples/0 caf\u00e9", png);
    first = board.path();
  }
  {
    const TensorBoard board(folder / "a", 301);
    second = board.path();
  }
  CHECK(first < second);

  const std::vector<Message> events = events_in(first);
  REQUIRE(events.size() == 4);
  CHECK(only(events[0], 3) == "brain.Event:2");
  CHECK(number<double>(only(events[0], 1)) > 1.7e9);
  CHECK(events[1].count(2) == 0);  // step 0
  CHECK(number<uint64_t>(only(parse(only(events[1], 7)), 1)) == 1);

  CHECK(number<int64_t>(only(events[2], 2)) == 1);
  std::map<std::string, float> scalars;
  const Message summary = parse(only(events[2], 5));
  for (const auto& [field, value] : summary) {
    CHECK(field == 1);
    scalars[only(parse(value), 1)] = number<float>(only(parse(value), 2));
  }
  REQUIRE(scalars.size() == 4);
  CHECK(scalars.at("train/loss") == 0.25f);
  CHECK(scalars.at("train/seconds/data") == 2);
  CHECK(scalars.at("train/bins/0") == 1.5f);
  CHECK(std::isnan(scalars.at("train/bins/1")));

  CHECK(number<int64_t>(only(events[3], 2)) == 300);
  const Message value = parse(only(parse(only(events[3], 5)), 1)), image = parse(only(value, 4));
  CHECK(only(value, 1) == "samples/0 caf\u00e9");
  CHECK(number<int64_t>(only(image, 1)) == (int64_t(uint8_t(png[22])) << 8 | uint8_t(png[23])));
  CHECK(number<int64_t>(only(image, 2)) == (int64_t(uint8_t(png[18])) << 8 | uint8_t(png[19])));
  CHECK(number<int64_t>(only(image, 3)) == 3);
  CHECK(only(image, 4) == png);

  const std::vector<Message> later = events_in(second);
  REQUIRE(later.size() == 2);
  CHECK(number<int64_t>(only(later[1], 2)) == 301);
}

}  // namespace
}  // namespace wandistill::testing
