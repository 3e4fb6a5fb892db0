#include "wandistill/ops/rms_norm_silu.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pixel_norm.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kLanes = 16;  // channels at once: a constant, so that no loop is left
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

/// Of 1 to kLanes channels, the others 0.
Vector load(const float* from, int64_t used) {
  Vector v = {};
  if (used < kLanes)
    std::copy_n(from, used, reinterpret_cast<float*>(&v));
  else
    std::memcpy(&v, from, sizeof v);
  return v;
}

/// The sum of all lanes, halves onto halves.
float sum_lanes(Vector v) {
  v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return v[0] + v[1];
}

}  // namespace

void pixel_scales(int64_t pixels, int64_t channels, const float* x, float* scales) {
  for (int64_t p = 0; p < pixels; ++p, x += channels) {
    Vector squares = {};
    for (int64_t c = 0; c < channels; c += kLanes) {
      const Vector v = load(x + c, channels - c);
      squares += v * v;
    }
    scales[p] = sum_lanes(squares);
  }
  const float root = std::sqrt(static_cast<float>(channels));
#pragma omp simd
  for (int64_t p = 0; p < pixels; ++p) {
    const float norm = std::sqrt(scales[p]);
    scales[p] = root / (norm < 1e-12f ? 1e-12f : norm);
  }
}

void scale_pixels(int64_t pixels, int64_t n, const float* x, int64_t x_stride, const float* scales,
                  const float* gamma, bool silu, float* y, int64_t y_stride) {
  for (int64_t p = 0; p < pixels; ++p, x += x_stride, y += y_stride) {
    const float scale = scales[p];
    for (int64_t c = 0; c < n; c += kLanes) {
      const int64_t used = std::min(kLanes, n - c);
      const float *from = x + c, *weight = gamma + c;
      float* to = y + c;
      float padded[kLanes] = {}, padded_gamma[kLanes] = {};
      if (used < kLanes) {
        std::copy_n(from, used, padded);
        std::copy_n(weight, used, padded_gamma);
        from = to = padded;
        weight = padded_gamma;
      }
      if (silu) {
#pragma omp simd
        for (int64_t j = 0; j < kLanes; ++j) {
          const float value = from[j] * scale * weight[j];
          to[j] = value / (1.0f + fast_exp(-value));
        }
      } else {
#pragma omp simd
        for (int64_t j = 0; j < kLanes; ++j) to[j] = from[j] * scale * weight[j];
      }
      if (used < kLanes) std::copy_n(padded, used, y + c);
    }
  }
}

void rms_norm_silu_forward(int64_t pixels, int64_t channels, const float* x, const float* gamma, bool silu,
                           float* y, const Queue& queue) {
  constexpr int64_t kPixels = 64;
  const int64_t step = std::max<int64_t>(1, 16384 / channels / kPixels) * kPixels;
  parallel_blocks(queue, pixels, step, [&](int64_t begin, int64_t end) {
    float scales[kPixels];
    for (int64_t p = begin; p < end; p += kPixels) {
      const int64_t count = std::min(kPixels, end - p);
      pixel_scales(count, channels, x + p * channels, scales);
      scale_pixels(count, channels, x + p * channels, channels, scales, gamma, silu, y + p * channels,
                   channels);
    }
  });
}

}  // namespace wandistill::cpu
