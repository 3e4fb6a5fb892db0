#include "wandistill/file_seal.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/hash.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

const std::string kPrefix = "\nwandistill checksum ";
constexpr size_t kDigits = 16;
constexpr size_t kBlock = size_t{1} << 20;

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File open_file(const fs::path& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode), std::fclose);
  if (!file) fail(path.string(), ": cannot open: ", std::strerror(errno));
  return file;
}

/// Of the next `bytes` of the file.
uint64_t checksum_of(std::FILE* file, size_t bytes, const fs::path& path) {
  std::vector<char> block(kBlock);
  uint64_t hash = 0;
  while (bytes > 0) {
    const size_t count = std::min(bytes, kBlock);
    if (std::fread(block.data(), 1, count, file) != count)
      fail(path.string(), ": cannot read: ", std::ferror(file) ? std::strerror(errno) : "it became shorter");
    hash = checksum64(block.data(), count, hash);
    bytes -= count;
  }
  return hash;
}

std::string seal_of(uint64_t checksum) {
  char digits[kDigits + 1];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(checksum));
  return kPrefix + digits + "\n";
}

}  // namespace

void seal_file(const fs::path& path) {
  const File file = open_file(path, "r+b");
  const std::string seal = seal_of(checksum_of(file.get(), fs::file_size(path), path));
  if (std::fseek(file.get(), 0, SEEK_END) != 0 ||
      std::fwrite(seal.data(), 1, seal.size(), file.get()) != seal.size() || std::fflush(file.get()) != 0)
    fail(path.string(), ": cannot write: ", std::strerror(errno));
}

Seal check_seal(const fs::path& path) {
  const File file = open_file(path, "rb");
  const size_t size = fs::file_size(path), seal_size = seal_of(0).size();
  if (size < seal_size) return Seal::kAbsent;
  const uint64_t checksum = checksum_of(file.get(), size - seal_size, path);
  std::string found(seal_size, '\0');
  if (std::fread(found.data(), 1, seal_size, file.get()) != seal_size) return Seal::kBroken;
  if (!found.starts_with(kPrefix)) return Seal::kAbsent;
  return found == seal_of(checksum) ? Seal::kIntact : Seal::kBroken;
}

}  // namespace wandistill
