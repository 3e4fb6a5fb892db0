#include "wandistill/ops/layer_norm.h"

#include <cmath>

namespace wandistill::ref {

void layer_norm_forward(const LayerNormShape& s, const float* x, const float* scale, const float* shift,
                        float* y, float* mean, float* rstd, const Queue&) {
  for (int64_t row = 0; row < s.batch * s.tokens; ++row) {
    const int64_t at = row * s.channels, mod = row / s.tokens * s.stride;
    double m = 0, variance = 0;
    for (int64_t c = 0; c < s.channels; ++c) m += x[at + c];
    m /= double(s.channels);
    for (int64_t c = 0; c < s.channels; ++c) variance += (x[at + c] - m) * (x[at + c] - m);
    const double r = 1 / std::sqrt(variance / double(s.channels) + s.eps);
    for (int64_t c = 0; c < s.channels; ++c)
      y[at + c] = float((x[at + c] - m) * r * (double(s.offset) + scale[mod + c]) + shift[mod + c]);
    mean[row] = float(m);
    rstd[row] = float(r);
  }
}

void layer_norm_backward(const LayerNormShape& s, const float* x, const float* scale, const float* mean,
                         const float* rstd, const float* dy, float* dx, float* dscale, float* dshift,
                         const Queue&) {
  const int64_t C = s.channels;
  for (int64_t row = 0; row < s.batch * s.tokens; ++row) {
    const int64_t at = row * C, mod = row / s.tokens * s.stride;
    double mean_g = 0, mean_gx = 0;
    for (int64_t c = 0; c < C; ++c) {
      const double normed = (double(x[at + c]) - mean[row]) * rstd[row];
      const double g = dy[at + c] * (double(s.offset) + scale[mod + c]);
      mean_g += g / double(C);
      mean_gx += g * normed / double(C);
    }
    for (int64_t c = 0; c < C; ++c) {
      const double normed = (double(x[at + c]) - mean[row]) * rstd[row];
      const double g = dy[at + c] * (double(s.offset) + scale[mod + c]);
      dx[at + c] += float(rstd[row] * (g - mean_g - normed * mean_gx));
    }
  }
  // Sums over rows in double, one channel at a time.
  for (int64_t group = 0; group < (s.stride ? s.batch : 1); ++group)
    for (int64_t c = 0; c < C; ++c) {
      const int64_t rows = s.stride ? s.tokens : s.batch * s.tokens;
      double sum_scale = 0, sum_shift = 0;
      for (int64_t row = group * rows; row < (group + 1) * rows; ++row) {
        sum_scale += dy[row * C + c] * (double(x[row * C + c]) - mean[row]) * rstd[row];
        sum_shift += dy[row * C + c];
      }
      dscale[group * s.stride + c] += float(sum_scale);
      dshift[group * s.stride + c] += float(sum_shift);
    }
}

void gated_residual_forward(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const float* x,
                            const float* y, const float* gate, float* out, const Queue&) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = b * tokens * channels; i < (b + 1) * tokens * channels; ++i)
      out[i] = float(double(x[i]) + (gate ? double(gate[b * stride + i % channels]) : 1.0) * y[i]);
}

void gated_residual_backward(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const float* y,
                             const float* gate, const float* dout, float* dy, float* dgate, const Queue&) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (int64_t l = 0; l < tokens; ++l) {
        const int64_t i = (b * tokens + l) * channels + c;
        sum += double(y[i]) * dout[i];
        dy[i] = float(double(gate[b * stride + c]) * dout[i]);
      }
      dgate[b * stride + c] += float(sum);
    }
}

}  // namespace wandistill::ref
