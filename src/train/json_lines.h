// A log for machines: one JSON object per line.
#pragma once

#include "src/train/append_file.h"
#include "wandistill/json.h"

namespace wandistill {

/// As AppendFile says.
class JsonLines {
 public:
  explicit JsonLines(std::filesystem::path path) : file_(std::move(path)) {}

  /// Numbers that are not finite become null, as JSON has none; bytes that are not UTF-8, U+FFFD.
  void write(const Json& line) {
    file_.append(line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }

 private:
  AppendFile file_;
};

}  // namespace wandistill
