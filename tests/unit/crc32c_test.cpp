#include "wandistill/crc32c.h"

#include <doctest/doctest.h>

#include <numeric>
#include <string>
#include <vector>

namespace wandistill::testing {
namespace {

TEST_CASE("crc32c: the vectors of RFC 3720, B.4") {
  std::vector<uint8_t> bytes(32, 0);
  CHECK(crc32c(bytes.data(), 32) == 0x8a9136aa);
  bytes.assign(32, 0xff);
  CHECK(crc32c(bytes.data(), 32) == 0x62a8ab43);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  CHECK(crc32c(bytes.data(), 32) == 0x46dd794e);
  std::iota(bytes.rbegin(), bytes.rend(), uint8_t{0});
  CHECK(crc32c(bytes.data(), 32) == 0x113fdb5c);
  const std::string digits = "123456789";
  CHECK(crc32c(digits.data(), digits.size()) == 0xe3069283);
  CHECK(crc32c(nullptr, 0) == 0);
}

TEST_CASE("crc32c: pieces of any length, one after the other, give the CRC of the whole") {
  const std::string digits = "123456789123456789123456789";
  for (size_t cut = 0; cut <= digits.size(); ++cut) {
    const uint32_t first = crc32c(digits.data(), cut);
    CHECK(crc32c(digits.data() + cut, digits.size() - cut, first) == crc32c(digits.data(), digits.size()));
  }
}

}  // namespace
}  // namespace wandistill::testing
