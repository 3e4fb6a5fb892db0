#include "wandistill/ops/optimizer.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"
#include "wandistill/buffer.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kBlock = 16384;

/// x [n]: four pieces of it side by side, as main memory delivers several streams half as fast again as one.
double sum_of_squares(int64_t n, const float* x) {
  constexpr int64_t kPieces = 4, kLanes = 16;
  const int64_t piece = n / (kPieces * kLanes) * kLanes;
  double sums[kPieces][kLanes] = {};
  for (int64_t i = 0; i < piece; i += kLanes)
    for (int64_t p = 0; p < kPieces; ++p)
      for (int64_t j = 0; j < kLanes; ++j)
        sums[p][j] += double(x[p * piece + i + j]) * double(x[p * piece + i + j]);
  double sum = 0;
  for (const auto& lanes : sums)
    for (const double s : lanes) sum += s;
  for (int64_t i = kPieces * piece; i < n; ++i) sum += double(x[i]) * double(x[i]);
  return sum;
}

}  // namespace

void weighted_mse(int64_t batch, int64_t n, const float* prediction, const float* target, const float* weight,
                  double* squared_error, float* dprediction, const Queue& queue) {
  parallel_for(queue, batch, [&](int64_t b) {
    double sum = 0;
    const float* p = prediction + b * n;
    const float* t = target + b * n;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += double(p[i] - t[i]) * double(p[i] - t[i]);
    squared_error[b] = sum;
    if (!dprediction) return;
    const float twice = 2.0f * weight[b];
    float* d = dprediction + b * n;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) d[i] = twice * (p[i] - t[i]);
  });
}

void squared_norm(int64_t n, const float* x, double* result, const Queue& queue) {
  Buffer<double> partial((n + kBlock - 1) / kBlock);
  parallel_blocks(queue, n, kBlock, [&](int64_t begin, int64_t end) {
    partial[begin / kBlock] = sum_of_squares(end - begin, x + begin);
  });
  *result = 0;
  for (double s : partial) *result += s;
}

void adamw(const AdamWStep& s, const UpdateState* state, int64_t n, const float* gradient, float* weight,
           float* m, float* v, float* ema, float* rounded, const Queue& queue) {
  if (state->skip) return;
  const float step_size = float(s.lr / state->correction1), v_scale = float(1 / state->correction2);
  const float keep = 1.0f - s.lr * s.weight_decay, scale = state->gradient_scale, decay = state->ema_decay;
  parallel_blocks(queue, n, kBlock, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float g = gradient[i] * scale;
      m[i] = s.beta1 * m[i] + (1.0f - s.beta1) * g;
      v[i] = s.beta2 * v[i] + (1.0f - s.beta2) * g * g;
      weight[i] = weight[i] * keep - step_size * m[i] / (std::sqrt(v[i] * v_scale) + s.eps);
    }
    if (rounded) std::copy(weight + begin, weight + end, rounded + begin);
    if (!ema) return;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) ema[i] = decay * ema[i] + (1.0f - decay) * weight[i];
  });
}

}  // namespace wandistill::cpu
