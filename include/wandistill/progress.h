// How far the work is: a bar on a terminal, a line now and then in a log.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace wandistill {

/// A line on stderr, over a progress bar that may stand there.
void print_line(const std::string& text);

/// Writes to stderr. On a terminal one line is redrawn (at most ten times a second, never wider than the
/// terminal). Elsewhere a line is added once 5 % are done since the last line, but not within 10 seconds of
/// it; at the latest after a minute; and at the end.
class Progress {
 public:
  /// total > 0 units of work named `unit` ("steps"). enabled: false on all ranks but one. max_seconds: the
  /// work ends after this time at the latest, done or not; 0: no limit.
  Progress(std::string label, int64_t total, std::string unit, bool enabled, double max_seconds = 0);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  /// `count` more units are done; `note` is shown behind the figures ("loss 0.123").
  void advance(int64_t count, const std::string& note = "");
  /// The last line. Called by the destructor if it was not before.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string text(Clock::time_point now, int width) const;
  void show(Clock::time_point now);

  std::string label_, unit_, note_;
  int64_t total_, done_ = 0, shown_done_ = 0;
  double max_seconds_;
  bool enabled_, terminal_, finished_ = false;
  Clock::time_point start_, shown_;
};

}  // namespace wandistill
