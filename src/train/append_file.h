// A log file: entries are added at its end, and a full disk ends nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace wandistill {

/// An entry is in the file when append() returns, whole or not at all. While the disk does not take them, up
/// to 1 MiB of entries wait in memory and the later ones are lost; both is said once, on stderr.
class AppendFile {
 public:
  /// Error if the file cannot be opened. The rest of a line that a killed run left is ended.
  explicit AppendFile(std::filesystem::path path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(const std::string& entry);
  const std::filesystem::path& path() const { return path_; }

 private:
  /// True if all that waits is in the file.
  bool flush();

  std::filesystem::path path_;
  int fd_;
  std::string waiting_;
  int64_t lost_ = 0;  // entries
  bool failing_ = false;
};

}  // namespace wandistill
