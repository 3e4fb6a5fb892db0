#include "wandistill/ops/round16.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace wandistill::ref {
namespace {

/// `precision` significant bits; numbers below 2^(min_exponent - 1) are spaced as those just above.
float round_one(float x, int precision, int min_exponent, double largest) {
  if (!std::isfinite(x)) return x;
  int exponent;
  std::frexp(x, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent, min_exponent) - precision);
  const double rounded = std::nearbyint(x / unit) * unit;
  if (std::abs(rounded) > largest) return std::copysign(std::numeric_limits<float>::infinity(), x);
  return static_cast<float>(rounded);
}

}  // namespace

void round_bfloat16(int64_t n, float* x, const Queue&) {
  for (int64_t i = 0; i < n; ++i) x[i] = round_one(x[i], 8, -125, 0x1.fep127);
}

void round_float16(int64_t n, float* x, const Queue&) {
  for (int64_t i = 0; i < n; ++i) x[i] = round_one(x[i], 11, -13, 65504);
}

}  // namespace wandistill::ref
