#include "wandistill/ops/rms_norm.h"

#include <cmath>

namespace wandistill::ref {

void rms_norm_forward(int64_t rows, int64_t channels, float eps, const float* x, const float* weight,
                      float* y, const Queue&) {
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t c = 0; c < channels; ++c) squares += double{x[r * channels + c]} * x[r * channels + c];
    const double factor = 1 / std::sqrt(squares / static_cast<double>(channels) + eps);
    for (int64_t c = 0; c < channels; ++c) {
      y[r * channels + c] = static_cast<float>(x[r * channels + c] * factor * weight[c]);
    }
  }
}

}  // namespace wandistill::ref
