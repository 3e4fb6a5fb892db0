// metrics.jsonl: one JSON object per line, for machines.
#pragma once

#include <filesystem>
#include <fstream>

#include "wandistill/json.h"

namespace wandistill {

class MetricsFile {
 public:
  /// Appends to the file; on ranks other than the first (enabled false) does nothing.
  MetricsFile(const std::filesystem::path& file, bool enabled);
  /// Throws Error if the line cannot be written. Numbers that are not finite become null, as JSON has none.
  void write(const Json& line);

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace wandistill
