#include "wandistill/ops/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"

namespace wandistill::cpu {

void rms_norm_forward(int64_t rows, int64_t channels, float eps, const float* x, const float* weight,
                      float* y, const Queue& queue) {
  const int64_t step = std::max<int64_t>(1, 16384 / channels);
  parallel_blocks(queue, rows, step, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* from = x + r * channels;
      float* to = y + r * channels;
      float squares = 0;
#pragma omp simd reduction(+ : squares)
      for (int64_t c = 0; c < channels; ++c) squares += from[c] * from[c];
      const float factor = 1.0f / std::sqrt(squares / static_cast<float>(channels) + eps);
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) to[c] = from[c] * factor * weight[c];
    }
  });
}

}  // namespace wandistill::cpu
