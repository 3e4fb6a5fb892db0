#include "wandistill/job_time.h"

#include <sys/wait.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "wandistill/progress.h"
#include "wandistill/session.h"

namespace wandistill {
namespace {

/// The whole of `text` as a number without sign.
std::optional<int64_t> parse_digits(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

/// The first line that the command prints. Error with its output if it fails.
std::string first_line_of(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe) fail("cannot start ", command);
  std::string output;
  std::array<char, 256> part;
  for (size_t n; (n = fread(part.data(), 1, part.size(), pipe)) > 0;) output.append(part.data(), n);
  const int status = pclose(pipe);
  output = output.substr(0, output.find('\n'));
  if (status != 0) fail(command, ": ", WIFEXITED(status) ? WEXITSTATUS(status) : status, " ", output);
  return output;
}

}  // namespace

std::optional<double> parse_slurm_time(const std::string& text) {
  const size_t dash = text.find('-');
  double seconds = 0;
  std::string clock = text;
  if (dash != std::string::npos) {
    const auto days = parse_digits(text.substr(0, dash));
    if (!days) return std::nullopt;
    seconds = 86400.0 * double(*days);
    clock = text.substr(dash + 1);
  }
  double rest = 0;
  int fields = 0;
  for (size_t at = 0; at <= clock.size(); ++fields) {
    const size_t colon = std::min(clock.find(':', at), clock.size());
    const auto value = parse_digits(clock.substr(at, colon - at));
    if (!value || fields == 3) return std::nullopt;
    rest = 60 * rest + double(*value);
    at = colon + 1;
  }
  return seconds + rest;
}

std::optional<double> slurm_seconds_left() {
  const char* job = std::getenv("SLURM_JOB_ID");
  if (!job) return std::nullopt;
  if (const char* end = std::getenv("SLURM_JOB_END_TIME")) {
    const auto seconds = parse_digits(end);
    if (!seconds) fail("SLURM_JOB_END_TIME is '", end, "'; expected seconds since 1970");
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    return double(*seconds) - now.count();
  }
  const auto id = parse_digits(job);
  if (!id) fail("SLURM_JOB_ID is '", job, "'; expected a number");
  // A controller that does not answer must not hold up the job.
  return parse_slurm_time(
      first_line_of(cat("timeout --signal=KILL 20 squeue --noheader --format=%L --jobs=", *id)));
}

std::string time_left_text(double seconds_left, double margin) {
  const std::string end = cat("this job's time ends in ", std::round(10 * seconds_left / 60) / 10, " min");
  if (seconds_left <= 60 * margin)
    fail(end, ", and --time_margin ", margin,
         " would stop it at once; give the job more time, or a smaller margin");
  return end;
}

void stop_before_the_end(Session& session, double margin, StopSignals* stop) {
  session.collectively([&] {
    if (!session.is_root() || margin <= 0) return;
    std::optional<double> left;
    try {
      left = slurm_seconds_left();
    } catch (const Error& error) {
      print_line(
          cat("when this job's time ends is not known, so --time_margin has no effect: ", error.what()));
    }
    if (!left) return;
    print_line(cat(time_left_text(*left, margin), "; the run saves and stops ", margin,
                   " min before (--time_margin)"));
    stop->stop_at(std::chrono::steady_clock::now() +
                  std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                      std::chrono::duration<double>(*left - 60 * margin)));
  });
}

}  // namespace wandistill
