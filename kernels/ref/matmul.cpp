#include "wandistill/ops/matmul.h"

#include <algorithm>

#include "wandistill/ops/activation.h"

namespace wandistill::ref {

void matmul(const MatmulShape& s, const float* a, const float* b, float* c, const Queue&) {
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < s.k; ++k)
        sum += double(s.transpose_a ? a[k * s.lda + i] : a[i * s.lda + k]) *
               double(s.transpose_b ? b[j * s.ldb + k] : b[k * s.ldb + j]);
      float& out = c[i * s.ldc + j];
      out = float(s.beta == 0 ? sum : sum + double(s.beta) * out);
    }
}

void linear_forward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight, const float* bias,
                    float* y, const Queue&) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = bias ? bias[j] : 0;
      for (int64_t l = 0; l < k; ++l) sum += double(x[i * k + l]) * weight[j * k + l];
      y[i * n + j] = float(sum);
    }
}

void linear_gelu_forward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight,
                         const float* bias, float* raw, float* act, const Queue& queue) {
  linear_forward(m, n, k, x, weight, bias, raw, queue);
  gelu_forward(m * n, raw, act, queue);
}

void add_column_sums(int64_t m, int64_t n, const float* x, float* sums, const Queue&) {
  for (int64_t j = 0; j < n; ++j) {
    double sum = sums[j];
    for (int64_t i = 0; i < m; ++i) sum += x[i * n + j];
    sums[j] = float(sum);
  }
}

void linear_backward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight, const float* dy,
                     float* dx, bool accumulate_dx, float* dweight, bool accumulate_dweight, float* dbias,
                     const Queue& queue) {
  if (dx)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t l = 0; l < k; ++l) {
        double sum = accumulate_dx ? dx[i * k + l] : 0;
        for (int64_t j = 0; j < n; ++j) sum += double(dy[i * n + j]) * weight[j * k + l];
        dx[i * k + l] = float(sum);
      }
  if (dweight)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l) {
        double sum = accumulate_dweight ? dweight[j * k + l] : 0;
        for (int64_t i = 0; i < m; ++i) sum += double(dy[i * n + j]) * x[i * k + l];
        dweight[j * k + l] = float(sum);
      }
  if (dbias && !accumulate_dweight) std::fill_n(dbias, n, 0.0f);
  if (dbias) add_column_sums(m, n, dy, dbias, queue);
}

}  // namespace wandistill::ref
