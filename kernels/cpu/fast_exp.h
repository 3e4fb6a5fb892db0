// exp that vectorises: no libm call, no branch.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace wandistill::cpu {

/// exp(x) within 2 ulp for x in [-87, 88], clamped outside (so exp(-inf) is about 1e-38, not 0; NaN stays
/// NaN). Range reduction to 2^n e^r, |r| <= ln(2) / 2, and a degree 6 polynomial (Cephes' coefficients).
inline float fast_exp(float x) {
  // Comparisons in this order let a NaN through.
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float n = std::nearbyint(x * 1.44269504f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float y = p * r * r + r + 1.0f;
  return y * std::bit_cast<float>((int32_t(n) + 127) << 23);
}

}  // namespace wandistill::cpu
