#include "wandistill/ops/gelu_gated.h"

#include <cmath>
#include <numbers>

namespace wandistill::ref {

void gelu_gated_forward(int64_t n, const float* gate, const float* value, float* y, const Queue&) {
  const double root = std::sqrt(2 / std::numbers::pi);
  for (int64_t i = 0; i < n; ++i) {
    const double x = gate[i];
    y[i] = static_cast<float>(x / 2 * (1 + std::tanh(root * (x + 0.044715 * x * x * x))) * value[i]);
  }
}

}  // namespace wandistill::ref
