// The table that golden_check prints: quantity, relative L2 error, bound, verdict.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>

namespace wandistill {

/// ||a - b|| / max(||b||, floor); NaN if an element of a is NaN.
inline double relative_error(int64_t n, const float* a, const float* b, double floor = 0) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < n; ++i) {
    difference += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    norm += double(b[i]) * b[i];
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), std::max(floor, 1e-300));
}

class Report {
 public:
  Report() { std::printf("%-44s %12s %9s\n", "quantity", "rel. error", "bound"); }
  void judge(const std::string& quantity, double error, double bound) {
    const bool ok = error <= bound;  // false for NaN
    failed_ += !ok;
    ++judged_;
    std::printf("%-44s %12.3e %9.0e  %s\n", quantity.c_str(), error, bound, ok ? "ok" : "FAIL");
  }
  void skip(const std::string& quantity, const std::string& why) {
    std::printf("%-44s %12s %9s  skipped: %s\n", quantity.c_str(), "-", "-", why.c_str());
  }
  void note(const std::string& text) { std::printf("  %s\n", text.c_str()); }
  /// The exit code.
  int finish() const {
    std::printf("golden check: %d of %d quantities within bounds\n", judged_ - failed_, judged_);
    return failed_ || !judged_;
  }

 private:
  int judged_ = 0, failed_ = 0;
};

}  // namespace wandistill
