// How far numbers are from those that are expected.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace wandistill {

/// ||a - b|| / max(||b||, floor); NaN if an element of either is NaN.
inline double relative_error(int64_t n, const float* a, const float* b, double floor = 0) {
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < n; ++i) {
    difference += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    norm += double(b[i]) * b[i];
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), std::max(floor, 1e-300));
}
inline double relative_error(const std::vector<float>& found, const std::vector<float>& expected) {
  return relative_error(int64_t(expected.size()), found.data(), expected.data());
}

}  // namespace wandistill
