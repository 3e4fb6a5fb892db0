#include "wandistill/ops/rms_norm_silu.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pixel_norm.h"

namespace wandistill::cpu {

float pixel_scale(int64_t channels, const float* x) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < channels; ++c) squares += x[c] * x[c];
  return std::sqrt(static_cast<float>(channels)) / std::max(std::sqrt(squares), 1e-12f);
}

void scale_pixel(int64_t n, const float* x, float scale, const float* gamma, bool silu, float* y) {
  if (silu) {
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) {
      const float value = x[c] * scale * gamma[c];
      y[c] = value / (1.0f + fast_exp(-value));
    }
  } else {
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) y[c] = x[c] * scale * gamma[c];
  }
}

void rms_norm_silu_forward(int64_t pixels, int64_t channels, const float* x, const float* gamma, bool silu,
                           float* y, const Queue& queue) {
  const int64_t step = std::max<int64_t>(1, 16384 / channels);
  parallel_blocks(queue, pixels, step, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const float* from = x + p * channels;
      scale_pixel(channels, from, pixel_scale(channels, from), gamma, silu, y + p * channels);
    }
  });
}

}  // namespace wandistill::cpu
