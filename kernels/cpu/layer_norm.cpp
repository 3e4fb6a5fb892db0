#include "wandistill/ops/layer_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kChannelBlock = 64;

}  // namespace

void layer_norm_forward(const LayerNormShape& s, const float* x, const float* scale, const float* shift,
                        float* y, float* mean, float* rstd, const Queue& queue) {
  const int64_t C = s.channels;
  parallel_blocks(queue, s.batch * s.tokens, rows_per_task(C), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = x + row * C;
      const float* a = scale + row / s.tokens * s.stride;
      const float* b = shift + row / s.tokens * s.stride;
      float* yr = y + row * C;
      float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < C; ++c) sum += xr[c];
      const float m = sum / float(C);
#pragma omp simd reduction(+ : squares)
      for (int64_t c = 0; c < C; ++c) squares += (xr[c] - m) * (xr[c] - m);
      const float r = 1.0f / std::sqrt(squares / float(C) + s.eps);
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) yr[c] = (xr[c] - m) * r * (s.offset + a[c]) + b[c];
      mean[row] = m;
      rstd[row] = r;
    }
  });
}

void layer_norm_backward(const LayerNormShape& s, const float* x, const float* scale, const float* mean,
                         const float* rstd, const float* dy, float* dx, float* dscale, float* dshift,
                         const Queue& queue) {
  const int64_t C = s.channels;
  parallel_blocks(queue, s.batch * s.tokens, rows_per_task(C), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = x + row * C;
      const float* g = dy + row * C;
      const float* a = scale + row / s.tokens * s.stride;
      float* d = dx + row * C;
      const float m = mean[row], r = rstd[row];
      float sum = 0, sum_x = 0;
#pragma omp simd reduction(+ : sum, sum_x)
      for (int64_t c = 0; c < C; ++c) {
        const float gs = g[c] * (s.offset + a[c]);
        sum += gs;
        sum_x += gs * (xr[c] - m) * r;
      }
      sum /= float(C);
      sum_x /= float(C);
#pragma omp simd
      for (int64_t c = 0; c < C; ++c) d[c] += r * (g[c] * (s.offset + a[c]) - sum - (xr[c] - m) * r * sum_x);
    }
  });
  const int64_t groups = s.stride ? s.batch : 1, rows = s.batch * s.tokens / groups;
  const int64_t blocks = (C + kChannelBlock - 1) / kChannelBlock;
  parallel_for(queue, groups * blocks, [&](int64_t work) {
    const int64_t group = work / blocks, c0 = work % blocks * kChannelBlock;
    const int64_t width = std::min(kChannelBlock, C - c0);
    float sum_scale[kChannelBlock] = {}, sum_shift[kChannelBlock] = {};
    for (int64_t row = group * rows; row < (group + 1) * rows; ++row) {
      const float* xr = x + row * C + c0;
      const float* g = dy + row * C + c0;
      const float m = mean[row], r = rstd[row];
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) {
        sum_scale[c] += g[c] * ((xr[c] - m) * r);
        sum_shift[c] += g[c];
      }
    }
    for (int64_t c = 0; c < width; ++c) {
      dscale[group * s.stride + c0 + c] += sum_scale[c];
      dshift[group * s.stride + c0 + c] += sum_shift[c];
    }
  });
}

void gated_residual_forward(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const float* x,
                            const float* y, const float* gate, float* out, const Queue& queue) {
  parallel_blocks(queue, batch * tokens, rows_per_task(channels), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = x + row * channels;
      const float* yr = y + row * channels;
      float* o = out + row * channels;
      if (gate) {
        const float* g = gate + row / tokens * stride;
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) o[c] = xr[c] + g[c] * yr[c];
      } else {
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) o[c] = xr[c] + yr[c];
      }
    }
  });
}

void gated_residual_backward(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const float* y,
                             const float* gate, const float* dout, float* dy, float* dgate,
                             const Queue& queue) {
  const int64_t blocks = (channels + kChannelBlock - 1) / kChannelBlock;
  parallel_for(queue, batch * blocks, [&](int64_t work) {
    const int64_t b = work / blocks, c0 = work % blocks * kChannelBlock;
    const int64_t width = std::min(kChannelBlock, channels - c0);
    const float* g = gate + b * stride + c0;
    float sum[kChannelBlock] = {};
    for (int64_t l = 0; l < tokens; ++l) {
      const int64_t at = (b * tokens + l) * channels + c0;
#pragma omp simd
      for (int64_t c = 0; c < width; ++c) {
        sum[c] += y[at + c] * dout[at + c];
        dy[at + c] = g[c] * dout[at + c];
      }
    }
    for (int64_t c = 0; c < width; ++c) dgate[b * stride + c0 + c] += sum[c];
  });
}

}  // namespace wandistill::cpu
