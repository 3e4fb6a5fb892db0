#include "wandistill/ops/qk_norm_rope.h"

#include <cmath>
#include <vector>

namespace wandistill::ref {

void qk_norm_rope_forward(const QkNormShape& s, const float* x, const float* weight, const float* cos,
                          const float* sin, float* y, float* rstd, const Queue&) {
  const int64_t C = s.heads * s.head_dim, half = s.head_dim / 2;
  for (int64_t row = 0; row < s.rows; ++row) {
    double squares = 0;
    for (int64_t c = 0; c < C; ++c) squares += double(x[row * C + c]) * x[row * C + c];
    const double r = 1 / std::sqrt(squares / double(C) + s.eps);
    rstd[row] = float(r);
    for (int64_t c = 0; c < C; c += 2) {
      const double a = x[row * C + c] * r * weight[c], b = x[row * C + c + 1] * r * weight[c + 1];
      const int64_t at = row % s.positions * half + c % s.head_dim / 2;
      const double co = cos ? cos[at] : 1, si = cos ? sin[at] : 0;
      y[row * C + c] = float(a * co - b * si);
      y[row * C + c + 1] = float(a * si + b * co);
    }
  }
}

void qk_norm_rope_backward(const QkNormShape& s, const float* x, const float* weight, const float* cos,
                           const float* sin, const float* rstd, const float* dy, float* dx, float* dweight,
                           const Queue&) {
  const int64_t C = s.heads * s.head_dim, half = s.head_dim / 2;
  std::vector<double> sum_dweight(C, 0.0), g(C);
  for (int64_t row = 0; row < s.rows; ++row) {
    const double r = rstd[row];
    double mean = 0;
    for (int64_t c = 0; c < C; c += 2) {
      const int64_t at = row % s.positions * half + c % s.head_dim / 2;
      const double co = cos ? cos[at] : 1, si = cos ? sin[at] : 0;
      const double da = dy[row * C + c], db = dy[row * C + c + 1];
      g[c] = da * co + db * si;
      g[c + 1] = db * co - da * si;
    }
    for (int64_t c = 0; c < C; ++c) {
      sum_dweight[c] += g[c] * x[row * C + c] * r;
      mean += g[c] * weight[c] * x[row * C + c] * r / double(C);
    }
    for (int64_t c = 0; c < C; ++c)
      dx[row * C + c] = float(r * (g[c] * weight[c] - x[row * C + c] * r * mean));
  }
  for (int64_t c = 0; c < C; ++c) dweight[c] += float(sum_dweight[c]);
}

}  // namespace wandistill::ref
