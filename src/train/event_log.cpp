#include "src/train/event_log.h"

#include <chrono>
#include <cstdio>
#include <ctime>

namespace wandistill {
namespace {

/// "2026-01-31T12:00:00.250Z"
std::string utc_now() {
  const int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
  const std::time_t seconds = ms / 1000;
  std::tm parts;
  gmtime_r(&seconds, &parts);
  char date[32], text[48];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text, sizeof text, "%s.%03dZ", date, int(ms % 1000));
  return text;
}

}  // namespace

void EventLog::add(const std::string& event, const Json& details) {
  if (!lines_) return;
  Json line = {{"time", utc_now()}, {"event", event}};
  line.update(details);
  lines_->write(line);
}

}  // namespace wandistill
