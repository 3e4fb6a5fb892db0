#include "wandistill/ops/activation.h"

#include <cmath>
#include <numbers>

namespace wandistill::ref {
namespace {

const double kGelu = std::sqrt(2 / std::numbers::pi), kCubic = 0.044715;

}  // namespace

void silu_forward(int64_t n, const float* x, float* y, const Queue&) {
  for (int64_t i = 0; i < n; ++i) y[i] = float(x[i] / (1 + std::exp(-double(x[i]))));
}

void silu_backward(int64_t n, const float* x, const float* dy, float* dx, const Queue&) {
  for (int64_t i = 0; i < n; ++i) {
    const double s = 1 / (1 + std::exp(-double(x[i])));
    dx[i] = float(dy[i] * s * (1 + x[i] * (1 - s)));
  }
}

void gelu_forward(int64_t n, const float* x, float* y, const Queue&) {
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i];
    y[i] = float(0.5 * v * (1 + std::tanh(kGelu * (v + kCubic * v * v * v))));
  }
}

void gelu_backward(int64_t n, const float* x, const float* dy, float* dx, const Queue&) {
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i], t = std::tanh(kGelu * (v + kCubic * v * v * v));
    dx[i] = float(dy[i] * (0.5 * (1 + t) + 0.5 * v * (1 - t * t) * kGelu * (1 + 3 * kCubic * v * v)));
  }
}

}  // namespace wandistill::ref
