#include "wandistill/ops/qk_norm_rope.h"

#include <cmath>

#include "kernels/cpu/parallel.h"
#include "wandistill/buffer.h"

namespace wandistill::cpu {
namespace {

/// Undoes the rotation of one row's gradient: g = R^T dy, into g [C] (may be dy itself).
void rotate_back(const QkNormShape& s, const float* co, const float* si, const float* dy, float* g) {
  const int64_t half = s.head_dim / 2;
  for (int64_t h = 0; h < s.heads; ++h) {
    const float* d = dy + h * s.head_dim;
    float* o = g + h * s.head_dim;
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const float da = d[2 * i], db = d[2 * i + 1];
      o[2 * i] = da * co[i] + db * si[i];
      o[2 * i + 1] = db * co[i] - da * si[i];
    }
  }
}

}  // namespace

void qk_norm_rope_forward(const QkNormShape& s, const float* x, const float* weight, const float* cos,
                          const float* sin, float* y, float* rstd, const Queue& queue) {
  const int64_t C = s.heads * s.head_dim, half = s.head_dim / 2;
  parallel_blocks(queue, s.rows, rows_per_task(C), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = x + row * C;
      float* yr = y + row * C;
      float squares = 0;
#pragma omp simd reduction(+ : squares)
      for (int64_t c = 0; c < C; ++c) squares += xr[c] * xr[c];
      const float r = 1.0f / std::sqrt(squares / float(C) + s.eps);
      rstd[row] = r;
      if (!cos) {
#pragma omp simd
        for (int64_t c = 0; c < C; ++c) yr[c] = xr[c] * r * weight[c];
        continue;
      }
      const float* co = cos + row % s.positions * half;
      const float* si = sin + row % s.positions * half;
      for (int64_t h = 0; h < s.heads; ++h) {
        const float* xh = xr + h * s.head_dim;
        const float* wh = weight + h * s.head_dim;
        float* yh = yr + h * s.head_dim;
#pragma omp simd
        for (int64_t i = 0; i < half; ++i) {
          const float a = xh[2 * i] * r * wh[2 * i], b = xh[2 * i + 1] * r * wh[2 * i + 1];
          yh[2 * i] = a * co[i] - b * si[i];
          yh[2 * i + 1] = a * si[i] + b * co[i];
        }
      }
    }
  });
}

void qk_norm_rope_backward(const QkNormShape& s, const float* x, const float* weight, const float* cos,
                           const float* sin, const float* rstd, const float* dy, float* dx, float* dweight,
                           const Queue& queue) {
  const int64_t C = s.heads * s.head_dim, half = s.head_dim / 2;
  const int64_t step = rows_per_task(C), blocks = (s.rows + step - 1) / step;
  Buffer<float> partial = Buffer<float>::zeros(blocks * C);  // each row block's share of dweight
  parallel_blocks(queue, s.rows, step, [&](int64_t begin, int64_t end) {
    float* dw = partial.data() + begin / step * C;
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = x + row * C;
      const float* g = dy + row * C;
      float* d = dx + row * C;
      const float r = rstd[row];
      if (cos) {
        rotate_back(s, cos + row % s.positions * half, sin + row % s.positions * half, g, d);
        g = d;
      }
      float mean = 0;
#pragma omp simd reduction(+ : mean)
      for (int64_t c = 0; c < C; ++c) {
        const float normed = xr[c] * r;
        dw[c] += g[c] * normed;
        mean += g[c] * weight[c] * normed;
      }
      mean /= float(C);
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) d[c] = r * (g[c] * weight[c] - xr[c] * r * mean);
    }
  });
  for (int64_t block = 0; block < blocks; ++block) {
    const float* dw = partial.data() + block * C;
#pragma omp simd
    for (int64_t c = 0; c < C; ++c) dweight[c] += dw[c];
  }
}

}  // namespace wandistill::cpu
