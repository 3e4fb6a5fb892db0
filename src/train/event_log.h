// What happens to a run: events.jsonl, over all its starts.
#pragma once

#include <optional>

#include "src/train/json_lines.h"

namespace wandistill {

/// A line has "time" (UTC), "event" and what belongs to it: see README.md.
class EventLog {
 public:
  /// enabled: on rank 0. On the others it says nothing.
  EventLog(const std::filesystem::path& output, bool enabled) {
    if (enabled) lines_.emplace(output / "events.jsonl");
  }
  /// details: an object.
  void add(const std::string& event, const Json& details = Json::object());

 private:
  std::optional<JsonLines> lines_;
};

}  // namespace wandistill
