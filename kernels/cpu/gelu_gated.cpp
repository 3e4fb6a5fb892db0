#include "wandistill/ops/gelu_gated.h"

#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/parallel.h"

namespace wandistill::cpu {

void gelu_gated_forward(int64_t n, const float* gate, const float* value, float* y, const Queue& queue) {
  parallel_blocks(queue, n, 16384, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float x = gate[i];
      const float u = 0.7978845608f * x * (1.0f + 0.044715f * x * x);
      y[i] = x / (1.0f + fast_exp(-2.0f * u)) * value[i];  // (1 + tanh u) / 2 is the logistic function of 2 u
    }
  });
}

}  // namespace wandistill::cpu
