#include "wandistill/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace wandistill {
namespace {

constexpr double kRedrawSeconds = 0.1, kLineSeconds = 10, kLineShare = 0.05, kSilentSeconds = 60;

double seconds(std::chrono::steady_clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

/// "1:05", "2:00:05".
std::string duration_text(double s) {
  const long long total = std::llround(std::max(0.0, s));
  char text[48];
  if (total >= 3600) {
    std::snprintf(text, sizeof(text), "%lld:%02lld:%02lld", total / 3600, total / 60 % 60, total % 60);
  } else {
    std::snprintf(text, sizeof(text), "%lld:%02lld", total / 60, total % 60);
  }
  return text;
}

int terminal_width() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

void print_line(const std::string& text) {
  std::fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) == 1 ? "\r\033[K" : "", text.c_str());
}

Progress::Progress(std::string label, int64_t total, std::string unit, bool enabled, double max_seconds)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(std::max<int64_t>(total, 1)),
      max_seconds_(max_seconds),
      enabled_(enabled),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      shown_(start_) {}

Progress::~Progress() {
  finish();
}

void Progress::advance(int64_t count, const std::string& note) {
  if (!enabled_ || finished_) return;
  done_ += count;
  note_ = note;
  const auto now = Clock::now();
  const double since = seconds(now - shown_);
  const bool much = static_cast<double>(done_ - shown_done_) >= kLineShare * static_cast<double>(total_);
  const bool due =
      terminal_ ? since >= kRedrawSeconds : since >= kSilentSeconds || (since >= kLineSeconds && much);
  if (due) show(now);
}

void Progress::finish() {
  if (!enabled_ || finished_) return;
  finished_ = true;
  show(Clock::now());
  if (terminal_) std::fputc('\n', stderr);
}

/// "train 120/600 steps (20 %), 3.1 steps/s, 2:35 left, loss 0.12", cut to the width; a bar in the middle if
/// it fits.
std::string Progress::text(Clock::time_point now, int width) const {
  const double elapsed = seconds(now - start_);
  double share = static_cast<double>(done_) / static_cast<double>(total_);
  if (max_seconds_ > 0) share = std::max(share, elapsed / max_seconds_);
  char figures[160];
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  std::snprintf(figures, sizeof(figures), " %lld/%lld %s (%.0f %%), %.3g %s/s, ",
                static_cast<long long>(done_), static_cast<long long>(total_), unit_.c_str(),
                std::floor(100 * std::min(1.0, share)), rate, unit_.c_str());
  std::string tail = figures;
  if (finished_) {
    tail += duration_text(elapsed);
  } else {
    double left = rate > 0 ? static_cast<double>(total_ - done_) / rate : HUGE_VAL;
    if (max_seconds_ > 0) left = std::min(left, max_seconds_ - elapsed);
    tail += (std::isfinite(left) ? duration_text(left) : std::string("?")) + " left";
  }
  if (!note_.empty()) tail += ", " + note_;
  const int room = width - static_cast<int>(label_.size() + tail.size()) - 4;
  std::string line = label_;
  if (terminal_ && room >= 10) {
    const int bar = std::min(room, 30), full = static_cast<int>(std::min(1.0, share) * bar);
    line += " [" + std::string(static_cast<size_t>(full), '#') +
            std::string(static_cast<size_t>(bar - full), '.') + "]";
  }
  line += tail;
  if (terminal_ && static_cast<int>(line.size()) >= width)
    line.resize(static_cast<size_t>(std::max(width - 1, 0)));
  return line;
}

void Progress::show(Clock::time_point now) {
  const std::string line = text(now, terminal_ ? terminal_width() : 0);
  if (terminal_) {
    std::fprintf(stderr, "\r%s\033[K", line.c_str());  // erase what a longer line left
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
  shown_ = now;
  shown_done_ = done_;
}

}  // namespace wandistill
