#include "wandistill/ops/rms_norm_silu.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/parallel.h"

namespace wandistill::cpu {

void rms_norm_silu_forward(int64_t pixels, int64_t channels, const float* x, const float* gamma, bool silu,
                           float* y, const Queue& queue) {
  const int64_t step = std::max<int64_t>(1, 16384 / channels);
  const float root = std::sqrt(static_cast<float>(channels));
  parallel_blocks(queue, pixels, step, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const float* from = x + p * channels;
      float* to = y + p * channels;
      float squares = 0;
#pragma omp simd reduction(+ : squares)
      for (int64_t c = 0; c < channels; ++c) squares += from[c] * from[c];
      const float factor = root / std::max(std::sqrt(squares), 1e-12f);
      if (silu) {
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) {
          const float value = from[c] * factor * gamma[c];
          to[c] = value / (1.0f + fast_exp(-value));
        }
      } else {
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) to[c] = from[c] * factor * gamma[c];
      }
    }
  });
}

}  // namespace wandistill::cpu
