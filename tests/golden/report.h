// The table that golden_check prints: quantity, relative L2 error, bound, verdict.
#pragma once

#include <cstdio>
#include <string>

#include "tests/relative_error.h"

namespace wandistill {

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
