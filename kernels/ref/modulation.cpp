#include "wandistill/ops/modulation.h"

namespace wandistill::ref {

void modulation_forward(int64_t batch, int64_t n, int64_t period, const float* table, const float* shared,
                        float* out, const Queue&) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < n; ++i) out[b * n + i] = table[i] + shared[b * period + i % period];
}

void modulation_backward(int64_t batch, int64_t n, int64_t period, const float* dout, float* dtable,
                         float* dshared, const Queue&) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < n; ++i) {
      dtable[i] += dout[b * n + i];
      dshared[b * period + i % period] += dout[b * n + i];
    }
}

}  // namespace wandistill::ref
