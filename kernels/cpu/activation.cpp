#include "wandistill/ops/activation.h"

#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/parallel.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kBlock = 32768;
constexpr float kGelu = 0.7978845608f, kCubic = 0.044715f;

inline float logistic(float x) {
  return 1.0f / (1.0f + fast_exp(-x));
}

}  // namespace

void silu_forward(int64_t n, const float* x, float* y, const Queue& queue) {
  parallel_blocks(queue, n, kBlock, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = x[i] * logistic(x[i]);
  });
}

void silu_backward(int64_t n, const float* x, const float* dy, float* dx, const Queue& queue) {
  parallel_blocks(queue, n, kBlock, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float s = logistic(x[i]);
      dx[i] = dy[i] * s * (1.0f + x[i] * (1.0f - s));
    }
  });
}

// (1 + tanh(u)) / 2 is the logistic function of 2 u.
void gelu_forward(int64_t n, const float* x, float* y, const Queue& queue) {
  parallel_blocks(queue, n, kBlock, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i)
      y[i] = x[i] * logistic(2.0f * kGelu * x[i] * (1.0f + kCubic * x[i] * x[i]));
  });
}

void gelu_backward(int64_t n, const float* x, const float* dy, float* dx, const Queue& queue) {
  parallel_blocks(queue, n, kBlock, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float square = x[i] * x[i];
      const float s = logistic(2.0f * kGelu * x[i] * (1.0f + kCubic * square));
      dx[i] = dy[i] * (s + x[i] * s * (1.0f - s) * 2.0f * kGelu * (1.0f + 3.0f * kCubic * square));
    }
  });
}

}  // namespace wandistill::cpu
