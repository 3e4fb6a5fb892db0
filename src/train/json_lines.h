// A log for machines: one JSON object per line, and a full disk ends nothing.
#pragma once

#include <filesystem>
#include <string>

#include "wandistill/json.h"

namespace wandistill {

/// Appends to a file; a line is there when write() returns, whole or not at all. While the disk does not take
/// them, up to 1 MiB of lines wait in memory, the later ones are lost; both is said once, on stderr.
class JsonLines {
 public:
  /// Error if the file cannot be opened. The rest of a line that a killed run left is ended.
  explicit JsonLines(std::filesystem::path path);
  ~JsonLines();
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  /// Numbers that are not finite become null, as JSON has none.
  void write(const Json& line);
  const std::filesystem::path& path() const { return path_; }

 private:
  /// True if all that waits is in the file.
  bool flush();

  std::filesystem::path path_;
  int fd_;
  std::string waiting_;
  int64_t lost_ = 0;  // lines
  bool failing_ = false;
};

}  // namespace wandistill
