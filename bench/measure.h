// Timing for the bench programs: repeated runs, their median and spread, one table and the same rows as JSON
// lines.
#pragma once

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "wandistill/buffer.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/json.h"
#include "wandistill/philox.h"

namespace wandistill::bench {

/// Seconds per call. spread: the middle half of the runs, (75th - 25th percentile) / median; large means that
/// the machine did something else meanwhile.
struct Timing {
  double median = 0, min = 0, spread = 0;
  int64_t runs = 0;
};

inline double seconds_of(const std::function<void()>& work, int64_t calls) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < calls; ++i) work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / double(calls);
}

/// Of the seconds that each run took per call.
inline Timing summary(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  return {median, times.front(), (times[times.size() * 3 / 4] - times[times.size() / 4]) / median,
          int64_t(times.size())};
}

/// Two calls unmeasured, then runs of at least a millisecond each until `budget` seconds are over: 5 at
/// least, 200 at most.
inline Timing measure(const std::function<void()>& work, double budget = 0.4) {
  const double first = std::min(seconds_of(work, 1), seconds_of(work, 1));
  const int64_t calls = std::max<int64_t>(1, int64_t(1e-3 / std::max(first, 1e-9)));
  std::vector<double> times;
  for (double spent = 0; times.size() < 5 || (spent < budget && times.size() < 200);
       spent += times.back() * double(calls))
    times.push_back(seconds_of(work, calls));
  return summary(std::move(times));
}

/// Standard normal numbers times `scale`; another `stream` gives others.
inline Buffer<float> gaussian(int64_t count, uint64_t stream, float scale = 1) {
  Buffer<float> out(count);
  fill_gaussian(1, stream, 0, count, out.data());
  for (float& value : out) value *= scale;
  return out;
}

inline std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

/// One row: what was timed, how much work a call is, and what it is held against.
struct Row {
  std::string name, shape;
  Timing time;
  double work = 0;  // per call, in `unit` times a second: GFLOP, TFLOP, GB; 0: no rate
  std::string unit = "GFLOP/s";
  double flop = 0;     // of a row in another unit than FLOP/s; 0: none by formula
  int64_t bytes = 0;   // of a row in another unit than GB/s: what must be read and written once; 0: not said
  double ceiling = 0;  // in `unit`, measured in the same run; 0: none
  std::optional<double> twin_seconds = std::nullopt;
  Json details = Json::object();  // more for the JSON line
};

/// Prints rows as they come, and all of them as JSON lines at the end.
class Report {
 public:
  Report(const std::string& program, int threads)
      : Report(program, cat(cpu_name(), ", ", threads, threads == 1 ? " thread" : " threads"),
               {{"threads", threads}, {"cpu", cpu_name()}}) {}
  /// machine: where it runs, for people and for the lines.
  Report(const std::string& program, const std::string& machine, const Json& machine_json)
      : common_({{"bench", program}}) {
    common_.update(machine_json);
    std::printf("%s: %s; wandistill %s\n", program.c_str(), machine.c_str(), WANDISTILL_VERSION);
    std::printf("%-24s %-36s %10s %10s %7s %18s %8s %8s\n", "", "shape", "median ms", "min ms", "spread",
                "rate", "ceiling", "x twin");
  }
  ~Report() {
    if (!written_) std::printf("%s", lines().c_str());
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  void add(const Row& row) {
    const double rate = row.work / row.time.median;
    std::printf("%-24s %-36s %10.4f %10.4f %6.1f%%", row.name.c_str(), row.shape.c_str(),
                row.time.median * 1e3, row.time.min * 1e3, row.time.spread * 100);
    Json line = common_;
    line.update({{"name", row.name},
                 {"shape", row.shape},
                 {"median_seconds", row.time.median},
                 {"min_seconds", row.time.min},
                 {"spread", row.time.spread},
                 {"runs", row.time.runs}});
    std::printf(" %10s", row.work > 0 ? number(rate, "%.2f").c_str() : "");
    std::printf(" %-7s", row.work > 0 ? row.unit.c_str() : "");
    std::printf(" %8s", row.ceiling > 0 ? number(rate / row.ceiling * 100, "%.0f%%").c_str() : "");
    std::printf(" %8s\n",
                row.twin_seconds ? number(*row.twin_seconds / row.time.median, "%.1f").c_str() : "");
    std::fflush(stdout);
    if (row.work > 0) {
      line["rate"] = rate;
      line["unit"] = row.unit;
    }
    const double flop = row.unit == "GFLOP/s"   ? row.work * 1e9
                        : row.unit == "TFLOP/s" ? row.work * 1e12
                                                : row.flop;
    const int64_t bytes = row.unit == "GB/s" ? std::llround(row.work * 1e9) : row.bytes;
    if (flop > 0) line["flop"] = flop;
    if (bytes > 0) line["bytes"] = bytes;
    if (row.ceiling > 0) {
      line["ceiling"] = row.ceiling;
      line["percent_of_ceiling"] = 100 * rate / row.ceiling;
    }
    if (row.twin_seconds) line["twin_seconds"] = *row.twin_seconds;
    line.update(row.details);
    lines_.push_back(std::move(line));
  }

  /// In place of a row that cannot be measured here.
  void skip(const std::string& name, const std::string& shape, const std::string& reason) {
    std::printf("%-24s %-36s skipped: %s\n", name.c_str(), shape.c_str(), reason.c_str());
    Json line = common_;
    line.update({{"name", name}, {"shape", shape}, {"skipped", reason}});
    lines_.push_back(std::move(line));
  }

  /// The lines into a file, instead of behind the table.
  void write_lines(const std::filesystem::path& file) {
    write_file_atomically(file, lines());
    written_ = true;
  }

 private:
  std::string lines() const {
    std::string text;
    for (const Json& line : lines_) text += line.dump() + "\n";
    return text;
  }
  static std::string number(double value, const char* format) {
    char text[32];
    std::snprintf(text, sizeof text, format, value);
    return text;
  }

  Json common_;
  std::vector<Json> lines_;
  bool written_ = false;
};

/// OMP_NUM_THREADS, or the cores that this process may run on. To be asked before the first matrix product,
/// which sets OpenMP's own number to one.
inline int bench_threads() {
  return omp_get_max_threads();
}

}  // namespace wandistill::bench
