#include "wandistill/ops/rms_norm_silu.h"

#include <algorithm>
#include <cmath>

namespace wandistill::ref {

void rms_norm_silu_forward(int64_t pixels, int64_t channels, const float* x, const float* gamma, bool silu,
                           float* y, const Queue&) {
  for (int64_t p = 0; p < pixels; ++p) {
    double squares = 0;
    for (int64_t c = 0; c < channels; ++c) squares += double{x[p * channels + c]} * x[p * channels + c];
    const double factor = std::sqrt(static_cast<double>(channels)) / std::max(std::sqrt(squares), 1e-12);
    for (int64_t c = 0; c < channels; ++c) {
      double value = x[p * channels + c] * factor * gamma[c];
      if (silu) value /= 1 + std::exp(-value);
      y[p * channels + c] = static_cast<float>(value);
    }
  }
}

}  // namespace wandistill::ref
